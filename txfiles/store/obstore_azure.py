"""Azure's blobs through `obstore`, for those whose options mean the same to it as to adlfs.

Blobs are deleted by adlfs, one by one: obstore deletes by batches alone, which many SAS tokens may not send.

Source: specs/decisions/0040-azure-through-obstore.md.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from obstore.store import AzureStore

from txfiles.errors import OptionError
from txfiles.store import azure_answers, azure_names, client, obstore_azure_options
from txfiles.store.client import Begun, Client, Failed
from txfiles.store.obstore_client import ObstoreClient
from txfiles.store.port import Capabilities

if TYPE_CHECKING:
    from obstore.store import ObjectStore


class ObstoreAzureClient(ObstoreClient):
    """One container, see `ObstoreClient`.

    Raises:
        OptionError: no account was named, or the URL names another.
    """

    capabilities = Capabilities(lists_from_a_name=False, requests_at_once=32, resends=False)
    deletes_at_once = azure_answers.DELETES_AT_ONCE
    answers: ClassVar[client.Answers] = azure_answers.ANSWERS
    tier = staticmethod(azure_answers.tier)
    absent = "BlobNotFound"
    other, extra = "adlfs", "azure"

    @property
    def root(self) -> str:
        """`abfs://container`, with the account if it was named so."""
        return f"abfs://{self._bucket}"

    @property
    def identity(self) -> str:
        """The endpoint and the container."""
        return f"azure {self._endpoint.partition('://')[2]} {azure_names.parts(self._bucket)[0]}"

    def delete_many(self, keys: Sequence[str]) -> Mapping[str, Failed]:
        """As adlfs does."""
        return self.by_other(lambda theirs: theirs.delete_many(keys))

    def uploads(self, prefix: str) -> Sequence[Begun]:
        """None: Azure forgets blocks that were not committed within a week."""
        return ()

    def _described(self, options: Mapping[str, Any]) -> Callable[..., ObjectStore]:
        self._config = config = obstore_azure_options.config_of(options)
        container, account, suffix = azure_names.parts(self._bucket)
        name = config.setdefault("account_name", account)
        if name is None:
            raise OptionError(
                f"no client for {self.root}: no account was named",
                hint="give account_name, and account_key or sas_token; or connection_string",
            )
        if account not in (None, name):
            raise azure_names.two_accounts(self.root)
        endpoint = config.get("endpoint", f"https://{name}.blob.{suffix or 'core.windows.net'}").rstrip("/")
        self._endpoint, self._place = endpoint, f"{endpoint}/{container}"
        return functools.partial(
            AzureStore,
            container,
            config={
                "account_name": name,
                "endpoint": endpoint,
                "skip_signature": bool(config.get("anon", False)),
            },
            credential_provider=None if config.get("anon") else obstore_azure_options.credentials(config),
        )

    def _connect_other(self) -> Client:
        from txfiles.store.adls import AzureClient

        return AzureClient(self._bucket, self._given, self._try_seconds)
