-- the first write makes ledger, table and index
SELECT CAST(SERVERPROPERTY('ProductMajorVersion') AS INT), CAST(SERVERPROPERTY('EngineEdition') AS INT), snapshot_isolation_state FROM sys.databases WHERE name = DB_NAME()
SET ANSI_NULLS ON
SET ANSI_NULL_DFLT_ON ON
SET ANSI_PADDING ON
SET ANSI_WARNINGS ON
SET ARITHABORT ON
SET CONCAT_NULL_YIELDS_NULL ON
SET NOCOUNT ON
SET QUOTED_IDENTIFIER ON
SET XACT_ABORT ON
SET IMPLICIT_TRANSACTIONS OFF
SET LOCK_TIMEOUT 60000
SELECT SCHEMA_NAME()
SELECT 1 FROM sys.objects AS o JOIN sys.schemas AS s ON s.schema_id = o.schema_id WHERE o.type IN ('U', 'V') AND s.name = ? AND o.name = ?
SELECT 1 FROM sys.objects AS o JOIN sys.schemas AS s ON s.schema_id = o.schema_id WHERE o.type IN ('U', 'V') AND s.name = ? AND o.name = ?
CREATE TABLE #txfiles_batch (n BIGINT NOT NULL PRIMARY KEY, c0 NVARCHAR(190) COLLATE Latin1_General_100_BIN2, c1 INT, c2 DATETIME2(6), c3 NVARCHAR(MAX) COLLATE Latin1_General_100_BIN2, c4 INT)
BEGIN TRANSACTION
INSERT INTO #txfiles_batch VALUES (?, ?, ?, ?, ?, ?)
COMMIT
SET TRANSACTION ISOLATION LEVEL READ COMMITTED
BEGIN TRANSACTION
DECLARE @got INT; EXEC @got = sys.sp_getapplock @Resource = ?, @LockMode = 'Exclusive', @LockOwner = 'Transaction', @LockTimeout = ?; SELECT @got
SELECT SCHEMA_NAME()
SELECT 1 FROM sys.objects AS o JOIN sys.schemas AS s ON s.schema_id = o.schema_id WHERE o.type IN ('U', 'V') AND s.name = ? AND o.name = ?
SELECT 1 FROM sys.objects AS o JOIN sys.schemas AS s ON s.schema_id = o.schema_id WHERE o.type IN ('U', 'V') AND s.name = ? AND o.name = ?
CREATE TABLE [dbo].[customers] ([name] NVARCHAR(190) COLLATE Latin1_General_100_BIN2, [n] INT, [at] DATETIMEOFFSET(6), [note] NVARCHAR(MAX) COLLATE Latin1_General_100_BIN2, [m] INT)
CREATE UNIQUE INDEX [txfiles_keys_7dbe5245bf71a58f40958e65] ON [dbo].[customers] ([name], [n])
INSERT INTO [dbo].[customers] ([name], [n], [at], [note], [m]) SELECT s.c0, s.c1, s.c2, s.c3, s.c4 FROM #txfiles_batch AS s ORDER BY s.n
IF OBJECT_ID(N'[dbo].[txfiles_commits]') IS NULL CREATE TABLE [dbo].[txfiles_commits] ([table_name] NVARCHAR(255) COLLATE Latin1_General_100_BIN2 NOT NULL, [version] BIGINT NOT NULL, [commit_id] NVARCHAR(255) COLLATE Latin1_General_100_BIN2 NOT NULL, [time_us] BIGINT NOT NULL, [operation] NVARCHAR(MAX) COLLATE Latin1_General_100_BIN2 NOT NULL, [scope] NVARCHAR(MAX) COLLATE Latin1_General_100_BIN2, [batch_id] NVARCHAR(255) COLLATE Latin1_General_100_BIN2, [key_columns] NVARCHAR(MAX) COLLATE Latin1_General_100_BIN2 NOT NULL, [timestamp_col] NVARCHAR(MAX) COLLATE Latin1_General_100_BIN2, [read_version] BIGINT, [rows_in] BIGINT NOT NULL, [rows_inserted] BIGINT NOT NULL, [rows_updated] BIGINT NOT NULL, [rows_unchanged] BIGINT NOT NULL, [rows_skipped] BIGINT NOT NULL, [rows_stale] BIGINT NOT NULL, [rows_deduplicated] BIGINT NOT NULL, [rows_deleted] BIGINT NOT NULL, [metadata] NVARCHAR(MAX) COLLATE Latin1_General_100_BIN2 NOT NULL, [user_metadata] NVARCHAR(MAX) COLLATE Latin1_General_100_BIN2 NOT NULL, [library] NVARCHAR(MAX) COLLATE Latin1_General_100_BIN2 NOT NULL, [writer] NVARCHAR(MAX) COLLATE Latin1_General_100_BIN2 NOT NULL, PRIMARY KEY (table_name, version), UNIQUE (table_name, commit_id))
INSERT INTO [dbo].[txfiles_commits] ([table_name], [version], [commit_id], [time_us], [operation], [scope], [batch_id], [key_columns], [timestamp_col], [read_version], [rows_in], [rows_inserted], [rows_updated], [rows_unchanged], [rows_skipped], [rows_stale], [rows_deduplicated], [rows_deleted], [metadata], [user_metadata], [library], [writer]) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
COMMIT

-- upsert, newest wins
SELECT SCHEMA_NAME()
SELECT 1 FROM sys.objects AS o JOIN sys.schemas AS s ON s.schema_id = o.schema_id WHERE o.type IN ('U', 'V') AND s.name = ? AND o.name = ?
SELECT 1 FROM sys.objects AS o JOIN sys.schemas AS s ON s.schema_id = o.schema_id WHERE o.type IN ('U', 'V') AND s.name = ? AND o.name = ?
SELECT TOP (1) [table_name], [version], [commit_id], [time_us], [operation], [scope], [batch_id], [key_columns], [timestamp_col], [read_version], [rows_in], [rows_inserted], [rows_updated], [rows_unchanged], [rows_skipped], [rows_stale], [rows_deduplicated], [rows_deleted], [metadata], [user_metadata], [library], [writer] FROM [dbo].[txfiles_commits] WHERE table_name = ? AND version >= 0 ORDER BY version DESC
SELECT TOP (1) [table_name], [version], [commit_id], [time_us], [operation], [scope], [batch_id], [key_columns], [timestamp_col], [read_version], [rows_in], [rows_inserted], [rows_updated], [rows_unchanged], [rows_skipped], [rows_stale], [rows_deduplicated], [rows_deleted], [metadata], [user_metadata], [library], [writer] FROM [dbo].[txfiles_commits] WHERE table_name = ? AND version >= 0 AND CAST(batch_id AS VARBINARY(MAX)) = CAST(? AS VARBINARY(MAX)) ORDER BY version DESC
CREATE TABLE #txfiles_batch (n BIGINT NOT NULL PRIMARY KEY, c0 NVARCHAR(190) COLLATE Latin1_General_100_BIN2, c1 INT, c2 DATETIME2(6), c3 NVARCHAR(MAX) COLLATE Latin1_General_100_BIN2, c4 INT)
BEGIN TRANSACTION
INSERT INTO #txfiles_batch VALUES (?, ?, ?, ?, ?, ?)
COMMIT
SET TRANSACTION ISOLATION LEVEL READ COMMITTED
BEGIN TRANSACTION
DECLARE @got INT; EXEC @got = sys.sp_getapplock @Resource = ?, @LockMode = 'Exclusive', @LockOwner = 'Transaction', @LockTimeout = ?; SELECT @got
SELECT SCHEMA_NAME()
SELECT 1 FROM sys.objects AS o JOIN sys.schemas AS s ON s.schema_id = o.schema_id WHERE o.type IN ('U', 'V') AND s.name = ? AND o.name = ?
SELECT 1 FROM sys.objects AS o JOIN sys.schemas AS s ON s.schema_id = o.schema_id WHERE o.type IN ('U', 'V') AND s.name = ? AND o.name = ?
SELECT TOP (1) [table_name], [version], [commit_id], [time_us], [operation], [scope], [batch_id], [key_columns], [timestamp_col], [read_version], [rows_in], [rows_inserted], [rows_updated], [rows_unchanged], [rows_skipped], [rows_stale], [rows_deduplicated], [rows_deleted], [metadata], [user_metadata], [library], [writer] FROM [dbo].[txfiles_commits] WHERE table_name = ? AND version >= 0 ORDER BY version DESC
SELECT TOP (1) [table_name], [version], [commit_id], [time_us], [operation], [scope], [batch_id], [key_columns], [timestamp_col], [read_version], [rows_in], [rows_inserted], [rows_updated], [rows_unchanged], [rows_skipped], [rows_stale], [rows_deduplicated], [rows_deleted], [metadata], [user_metadata], [library], [writer] FROM [dbo].[txfiles_commits] WHERE table_name = ? AND version >= 0 AND CAST(batch_id AS VARBINARY(MAX)) = CAST(? AS VARBINARY(MAX)) ORDER BY version DESC
SELECT TOP (1) 1 FROM [dbo].[customers] WITH (TABLOCKX, HOLDLOCK)
SELECT 1 FROM sys.indexes AS i JOIN sys.objects AS o ON o.object_id = i.object_id JOIN sys.schemas AS s ON s.schema_id = o.schema_id WHERE i.is_unique = 1 AND i.is_disabled = 0 AND i.has_filter = 0 AND s.name = ? AND o.name = ? AND i.name = ?
SELECT fate, count(*), count(*) FROM (SELECT CASE WHEN t.[name] IS NULL THEN 'i' WHEN (t.[at] IS NOT NULL AND (s.c2 IS NULL OR s.c2 < t.[at])) THEN 's' WHEN EXISTS (SELECT s.c2 INTERSECT SELECT t.[at]) AND EXISTS (SELECT s.c3, DATALENGTH(s.c3) INTERSECT SELECT t.[note], DATALENGTH(t.[note])) AND EXISTS (SELECT s.c4 INTERSECT SELECT t.[m]) THEN 'u' ELSE 'c' END AS fate FROM #txfiles_batch AS s LEFT JOIN [dbo].[customers] AS t ON t.[name] = s.c0 AND DATALENGTH(t.[name]) = DATALENGTH(s.c0) AND t.[n] = s.c1) AS f GROUP BY fate
SELECT 1 FROM sys.indexes AS i JOIN sys.objects AS o ON o.object_id = i.object_id JOIN sys.schemas AS s ON s.schema_id = o.schema_id WHERE i.is_unique = 1 AND i.is_disabled = 0 AND i.has_filter = 0 AND s.name = ? AND o.name = ? AND i.name = ?
MERGE INTO [dbo].[customers] WITH (HOLDLOCK) AS t USING #txfiles_batch AS s ON t.[name] = s.c0 AND DATALENGTH(t.[name]) = DATALENGTH(s.c0) AND t.[n] = s.c1 WHEN MATCHED AND NOT (t.[at] IS NOT NULL AND (s.c2 IS NULL OR s.c2 < t.[at])) AND NOT (EXISTS (SELECT s.c2 INTERSECT SELECT t.[at]) AND EXISTS (SELECT s.c3, DATALENGTH(s.c3) INTERSECT SELECT t.[note], DATALENGTH(t.[note])) AND EXISTS (SELECT s.c4 INTERSECT SELECT t.[m])) THEN UPDATE SET [at] = s.c2, [note] = s.c3, [m] = s.c4 WHEN NOT MATCHED THEN INSERT ([name], [n], [at], [note], [m]) VALUES (s.c0, s.c1, s.c2, s.c3, s.c4);
INSERT INTO [dbo].[txfiles_commits] ([table_name], [version], [commit_id], [time_us], [operation], [scope], [batch_id], [key_columns], [timestamp_col], [read_version], [rows_in], [rows_inserted], [rows_updated], [rows_unchanged], [rows_skipped], [rows_stale], [rows_deduplicated], [rows_deleted], [metadata], [user_metadata], [library], [writer]) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
COMMIT

-- upsert whatever its age, of some columns
SELECT SCHEMA_NAME()
SELECT 1 FROM sys.objects AS o JOIN sys.schemas AS s ON s.schema_id = o.schema_id WHERE o.type IN ('U', 'V') AND s.name = ? AND o.name = ?
SELECT 1 FROM sys.objects AS o JOIN sys.schemas AS s ON s.schema_id = o.schema_id WHERE o.type IN ('U', 'V') AND s.name = ? AND o.name = ?
SELECT TOP (1) [table_name], [version], [commit_id], [time_us], [operation], [scope], [batch_id], [key_columns], [timestamp_col], [read_version], [rows_in], [rows_inserted], [rows_updated], [rows_unchanged], [rows_skipped], [rows_stale], [rows_deduplicated], [rows_deleted], [metadata], [user_metadata], [library], [writer] FROM [dbo].[txfiles_commits] WHERE table_name = ? AND version >= 0 ORDER BY version DESC
CREATE TABLE #txfiles_batch (n BIGINT NOT NULL PRIMARY KEY, c0 NVARCHAR(190) COLLATE Latin1_General_100_BIN2, c1 INT, c2 DATETIME2(6), c3 NVARCHAR(MAX) COLLATE Latin1_General_100_BIN2, c4 INT)
BEGIN TRANSACTION
INSERT INTO #txfiles_batch VALUES (?, ?, ?, ?, ?, ?)
COMMIT
SET TRANSACTION ISOLATION LEVEL READ COMMITTED
BEGIN TRANSACTION
DECLARE @got INT; EXEC @got = sys.sp_getapplock @Resource = ?, @LockMode = 'Exclusive', @LockOwner = 'Transaction', @LockTimeout = ?; SELECT @got
SELECT SCHEMA_NAME()
SELECT 1 FROM sys.objects AS o JOIN sys.schemas AS s ON s.schema_id = o.schema_id WHERE o.type IN ('U', 'V') AND s.name = ? AND o.name = ?
SELECT 1 FROM sys.objects AS o JOIN sys.schemas AS s ON s.schema_id = o.schema_id WHERE o.type IN ('U', 'V') AND s.name = ? AND o.name = ?
SELECT TOP (1) [table_name], [version], [commit_id], [time_us], [operation], [scope], [batch_id], [key_columns], [timestamp_col], [read_version], [rows_in], [rows_inserted], [rows_updated], [rows_unchanged], [rows_skipped], [rows_stale], [rows_deduplicated], [rows_deleted], [metadata], [user_metadata], [library], [writer] FROM [dbo].[txfiles_commits] WHERE table_name = ? AND version >= 0 ORDER BY version DESC
SELECT TOP (1) 1 FROM [dbo].[customers] WITH (TABLOCKX, HOLDLOCK)
SELECT 1 FROM sys.indexes AS i JOIN sys.objects AS o ON o.object_id = i.object_id JOIN sys.schemas AS s ON s.schema_id = o.schema_id WHERE i.is_unique = 1 AND i.is_disabled = 0 AND i.has_filter = 0 AND s.name = ? AND o.name = ? AND i.name = ?
SELECT fate, count(*), count(*) FROM (SELECT CASE WHEN t.[name] IS NULL THEN 'i' WHEN EXISTS (SELECT s.c2 INTERSECT SELECT t.[at]) AND EXISTS (SELECT s.c4 INTERSECT SELECT t.[m]) THEN 'u' ELSE 'c' END AS fate FROM #txfiles_batch AS s LEFT JOIN [dbo].[customers] AS t ON t.[name] = s.c0 AND DATALENGTH(t.[name]) = DATALENGTH(s.c0) AND t.[n] = s.c1) AS f GROUP BY fate
SELECT 1 FROM sys.indexes AS i JOIN sys.objects AS o ON o.object_id = i.object_id JOIN sys.schemas AS s ON s.schema_id = o.schema_id WHERE i.is_unique = 1 AND i.is_disabled = 0 AND i.has_filter = 0 AND s.name = ? AND o.name = ? AND i.name = ?
MERGE INTO [dbo].[customers] WITH (HOLDLOCK) AS t USING #txfiles_batch AS s ON t.[name] = s.c0 AND DATALENGTH(t.[name]) = DATALENGTH(s.c0) AND t.[n] = s.c1 WHEN MATCHED AND NOT (EXISTS (SELECT s.c2 INTERSECT SELECT t.[at]) AND EXISTS (SELECT s.c4 INTERSECT SELECT t.[m])) THEN UPDATE SET [at] = s.c2, [m] = s.c4 WHEN NOT MATCHED THEN INSERT ([name], [n], [at], [note], [m]) VALUES (s.c0, s.c1, s.c2, s.c3, s.c4);
INSERT INTO [dbo].[txfiles_commits] ([table_name], [version], [commit_id], [time_us], [operation], [scope], [batch_id], [key_columns], [timestamp_col], [read_version], [rows_in], [rows_inserted], [rows_updated], [rows_unchanged], [rows_skipped], [rows_stale], [rows_deduplicated], [rows_deleted], [metadata], [user_metadata], [library], [writer]) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
COMMIT

-- append_once
SELECT SCHEMA_NAME()
SELECT 1 FROM sys.objects AS o JOIN sys.schemas AS s ON s.schema_id = o.schema_id WHERE o.type IN ('U', 'V') AND s.name = ? AND o.name = ?
SELECT 1 FROM sys.objects AS o JOIN sys.schemas AS s ON s.schema_id = o.schema_id WHERE o.type IN ('U', 'V') AND s.name = ? AND o.name = ?
SELECT TOP (1) [table_name], [version], [commit_id], [time_us], [operation], [scope], [batch_id], [key_columns], [timestamp_col], [read_version], [rows_in], [rows_inserted], [rows_updated], [rows_unchanged], [rows_skipped], [rows_stale], [rows_deduplicated], [rows_deleted], [metadata], [user_metadata], [library], [writer] FROM [dbo].[txfiles_commits] WHERE table_name = ? AND version >= 0 ORDER BY version DESC
CREATE TABLE #txfiles_batch (n BIGINT NOT NULL PRIMARY KEY, c0 NVARCHAR(190) COLLATE Latin1_General_100_BIN2, c1 INT, c2 DATETIME2(6), c3 NVARCHAR(MAX) COLLATE Latin1_General_100_BIN2, c4 INT)
BEGIN TRANSACTION
INSERT INTO #txfiles_batch VALUES (?, ?, ?, ?, ?, ?)
COMMIT
SET TRANSACTION ISOLATION LEVEL READ COMMITTED
BEGIN TRANSACTION
DECLARE @got INT; EXEC @got = sys.sp_getapplock @Resource = ?, @LockMode = 'Exclusive', @LockOwner = 'Transaction', @LockTimeout = ?; SELECT @got
SELECT SCHEMA_NAME()
SELECT 1 FROM sys.objects AS o JOIN sys.schemas AS s ON s.schema_id = o.schema_id WHERE o.type IN ('U', 'V') AND s.name = ? AND o.name = ?
SELECT 1 FROM sys.objects AS o JOIN sys.schemas AS s ON s.schema_id = o.schema_id WHERE o.type IN ('U', 'V') AND s.name = ? AND o.name = ?
SELECT TOP (1) [table_name], [version], [commit_id], [time_us], [operation], [scope], [batch_id], [key_columns], [timestamp_col], [read_version], [rows_in], [rows_inserted], [rows_updated], [rows_unchanged], [rows_skipped], [rows_stale], [rows_deduplicated], [rows_deleted], [metadata], [user_metadata], [library], [writer] FROM [dbo].[txfiles_commits] WHERE table_name = ? AND version >= 0 ORDER BY version DESC
SELECT TOP (1) 1 FROM [dbo].[customers] WITH (TABLOCKX, HOLDLOCK)
SELECT 1 FROM sys.indexes AS i JOIN sys.objects AS o ON o.object_id = i.object_id JOIN sys.schemas AS s ON s.schema_id = o.schema_id WHERE i.is_unique = 1 AND i.is_disabled = 0 AND i.has_filter = 0 AND s.name = ? AND o.name = ? AND i.name = ?
SELECT fate, count(*), count(*) FROM (SELECT CASE WHEN EXISTS (SELECT 1 FROM [dbo].[customers] AS t WHERE t.[name] = s.c0 AND DATALENGTH(t.[name]) = DATALENGTH(s.c0) AND t.[n] = s.c1) THEN 'k' ELSE 'i' END AS fate FROM #txfiles_batch AS s) AS f GROUP BY fate
SELECT 1 FROM sys.indexes AS i JOIN sys.objects AS o ON o.object_id = i.object_id JOIN sys.schemas AS s ON s.schema_id = o.schema_id WHERE i.is_unique = 1 AND i.is_disabled = 0 AND i.has_filter = 0 AND s.name = ? AND o.name = ? AND i.name = ?
MERGE INTO [dbo].[customers] WITH (HOLDLOCK) AS t USING #txfiles_batch AS s ON t.[name] = s.c0 AND DATALENGTH(t.[name]) = DATALENGTH(s.c0) AND t.[n] = s.c1 WHEN NOT MATCHED THEN INSERT ([name], [n], [at], [note], [m]) VALUES (s.c0, s.c1, s.c2, s.c3, s.c4);
INSERT INTO [dbo].[txfiles_commits] ([table_name], [version], [commit_id], [time_us], [operation], [scope], [batch_id], [key_columns], [timestamp_col], [read_version], [rows_in], [rows_inserted], [rows_updated], [rows_unchanged], [rows_skipped], [rows_stale], [rows_deduplicated], [rows_deleted], [metadata], [user_metadata], [library], [writer]) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
COMMIT

-- append
SELECT SCHEMA_NAME()
SELECT 1 FROM sys.objects AS o JOIN sys.schemas AS s ON s.schema_id = o.schema_id WHERE o.type IN ('U', 'V') AND s.name = ? AND o.name = ?
SELECT 1 FROM sys.objects AS o JOIN sys.schemas AS s ON s.schema_id = o.schema_id WHERE o.type IN ('U', 'V') AND s.name = ? AND o.name = ?
SELECT TOP (1) [table_name], [version], [commit_id], [time_us], [operation], [scope], [batch_id], [key_columns], [timestamp_col], [read_version], [rows_in], [rows_inserted], [rows_updated], [rows_unchanged], [rows_skipped], [rows_stale], [rows_deduplicated], [rows_deleted], [metadata], [user_metadata], [library], [writer] FROM [dbo].[txfiles_commits] WHERE table_name = ? AND version >= 0 ORDER BY version DESC
CREATE TABLE #txfiles_batch (n BIGINT NOT NULL PRIMARY KEY, c0 NVARCHAR(190) COLLATE Latin1_General_100_BIN2, c1 INT, c2 DATETIME2(6), c3 NVARCHAR(MAX) COLLATE Latin1_General_100_BIN2, c4 INT)
BEGIN TRANSACTION
INSERT INTO #txfiles_batch VALUES (?, ?, ?, ?, ?, ?)
COMMIT
SET TRANSACTION ISOLATION LEVEL READ COMMITTED
BEGIN TRANSACTION
DECLARE @got INT; EXEC @got = sys.sp_getapplock @Resource = ?, @LockMode = 'Exclusive', @LockOwner = 'Transaction', @LockTimeout = ?; SELECT @got
SELECT SCHEMA_NAME()
SELECT 1 FROM sys.objects AS o JOIN sys.schemas AS s ON s.schema_id = o.schema_id WHERE o.type IN ('U', 'V') AND s.name = ? AND o.name = ?
SELECT 1 FROM sys.objects AS o JOIN sys.schemas AS s ON s.schema_id = o.schema_id WHERE o.type IN ('U', 'V') AND s.name = ? AND o.name = ?
SELECT TOP (1) [table_name], [version], [commit_id], [time_us], [operation], [scope], [batch_id], [key_columns], [timestamp_col], [read_version], [rows_in], [rows_inserted], [rows_updated], [rows_unchanged], [rows_skipped], [rows_stale], [rows_deduplicated], [rows_deleted], [metadata], [user_metadata], [library], [writer] FROM [dbo].[txfiles_commits] WHERE table_name = ? AND version >= 0 ORDER BY version DESC
SELECT TOP (1) 1 FROM [dbo].[customers] WITH (TABLOCKX, HOLDLOCK)
SELECT 1 FROM sys.indexes AS i JOIN sys.objects AS o ON o.object_id = i.object_id JOIN sys.schemas AS s ON s.schema_id = o.schema_id WHERE i.is_unique = 1 AND i.is_disabled = 0 AND i.has_filter = 0 AND s.name = ? AND o.name = ? AND i.name = ?
INSERT INTO [dbo].[customers] ([name], [n], [at], [note], [m]) SELECT s.c0, s.c1, s.c2, s.c3, s.c4 FROM #txfiles_batch AS s ORDER BY s.n
INSERT INTO [dbo].[txfiles_commits] ([table_name], [version], [commit_id], [time_us], [operation], [scope], [batch_id], [key_columns], [timestamp_col], [read_version], [rows_in], [rows_inserted], [rows_updated], [rows_unchanged], [rows_skipped], [rows_stale], [rows_deduplicated], [rows_deleted], [metadata], [user_metadata], [library], [writer]) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
COMMIT

-- overwrite
SELECT SCHEMA_NAME()
SELECT 1 FROM sys.objects AS o JOIN sys.schemas AS s ON s.schema_id = o.schema_id WHERE o.type IN ('U', 'V') AND s.name = ? AND o.name = ?
SELECT 1 FROM sys.objects AS o JOIN sys.schemas AS s ON s.schema_id = o.schema_id WHERE o.type IN ('U', 'V') AND s.name = ? AND o.name = ?
SELECT TOP (1) [table_name], [version], [commit_id], [time_us], [operation], [scope], [batch_id], [key_columns], [timestamp_col], [read_version], [rows_in], [rows_inserted], [rows_updated], [rows_unchanged], [rows_skipped], [rows_stale], [rows_deduplicated], [rows_deleted], [metadata], [user_metadata], [library], [writer] FROM [dbo].[txfiles_commits] WHERE table_name = ? AND version >= 0 ORDER BY version DESC
CREATE TABLE #txfiles_batch (n BIGINT NOT NULL PRIMARY KEY, c0 NVARCHAR(190) COLLATE Latin1_General_100_BIN2, c1 INT, c2 DATETIME2(6), c3 NVARCHAR(MAX) COLLATE Latin1_General_100_BIN2, c4 INT)
BEGIN TRANSACTION
INSERT INTO #txfiles_batch VALUES (?, ?, ?, ?, ?, ?)
COMMIT
SET TRANSACTION ISOLATION LEVEL READ COMMITTED
BEGIN TRANSACTION
DECLARE @got INT; EXEC @got = sys.sp_getapplock @Resource = ?, @LockMode = 'Exclusive', @LockOwner = 'Transaction', @LockTimeout = ?; SELECT @got
SELECT SCHEMA_NAME()
SELECT 1 FROM sys.objects AS o JOIN sys.schemas AS s ON s.schema_id = o.schema_id WHERE o.type IN ('U', 'V') AND s.name = ? AND o.name = ?
SELECT 1 FROM sys.objects AS o JOIN sys.schemas AS s ON s.schema_id = o.schema_id WHERE o.type IN ('U', 'V') AND s.name = ? AND o.name = ?
SELECT TOP (1) [table_name], [version], [commit_id], [time_us], [operation], [scope], [batch_id], [key_columns], [timestamp_col], [read_version], [rows_in], [rows_inserted], [rows_updated], [rows_unchanged], [rows_skipped], [rows_stale], [rows_deduplicated], [rows_deleted], [metadata], [user_metadata], [library], [writer] FROM [dbo].[txfiles_commits] WHERE table_name = ? AND version >= 0 ORDER BY version DESC
SELECT TOP (1) 1 FROM [dbo].[customers] WITH (TABLOCKX, HOLDLOCK)
SELECT count(*) FROM [dbo].[customers]
DELETE FROM [dbo].[customers]
INSERT INTO [dbo].[customers] ([name], [n], [at], [note], [m]) SELECT s.c0, s.c1, s.c2, s.c3, s.c4 FROM #txfiles_batch AS s ORDER BY s.n
INSERT INTO [dbo].[txfiles_commits] ([table_name], [version], [commit_id], [time_us], [operation], [scope], [batch_id], [key_columns], [timestamp_col], [read_version], [rows_in], [rows_inserted], [rows_updated], [rows_unchanged], [rows_skipped], [rows_stale], [rows_deduplicated], [rows_deleted], [metadata], [user_metadata], [library], [writer]) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
COMMIT

-- overwrite a part
SELECT SCHEMA_NAME()
SELECT 1 FROM sys.objects AS o JOIN sys.schemas AS s ON s.schema_id = o.schema_id WHERE o.type IN ('U', 'V') AND s.name = ? AND o.name = ?
SELECT 1 FROM sys.objects AS o JOIN sys.schemas AS s ON s.schema_id = o.schema_id WHERE o.type IN ('U', 'V') AND s.name = ? AND o.name = ?
SELECT TOP (1) [table_name], [version], [commit_id], [time_us], [operation], [scope], [batch_id], [key_columns], [timestamp_col], [read_version], [rows_in], [rows_inserted], [rows_updated], [rows_unchanged], [rows_skipped], [rows_stale], [rows_deduplicated], [rows_deleted], [metadata], [user_metadata], [library], [writer] FROM [dbo].[txfiles_commits] WHERE table_name = ? AND version >= 0 ORDER BY version DESC
CREATE TABLE #txfiles_batch (n BIGINT NOT NULL PRIMARY KEY, c0 NVARCHAR(190) COLLATE Latin1_General_100_BIN2, c1 INT, c2 DATETIME2(6), c3 NVARCHAR(MAX) COLLATE Latin1_General_100_BIN2, c4 INT)
BEGIN TRANSACTION
INSERT INTO #txfiles_batch VALUES (?, ?, ?, ?, ?, ?)
COMMIT
SET TRANSACTION ISOLATION LEVEL READ COMMITTED
BEGIN TRANSACTION
DECLARE @got INT; EXEC @got = sys.sp_getapplock @Resource = ?, @LockMode = 'Exclusive', @LockOwner = 'Transaction', @LockTimeout = ?; SELECT @got
SELECT SCHEMA_NAME()
SELECT 1 FROM sys.objects AS o JOIN sys.schemas AS s ON s.schema_id = o.schema_id WHERE o.type IN ('U', 'V') AND s.name = ? AND o.name = ?
SELECT 1 FROM sys.objects AS o JOIN sys.schemas AS s ON s.schema_id = o.schema_id WHERE o.type IN ('U', 'V') AND s.name = ? AND o.name = ?
SELECT TOP (1) [table_name], [version], [commit_id], [time_us], [operation], [scope], [batch_id], [key_columns], [timestamp_col], [read_version], [rows_in], [rows_inserted], [rows_updated], [rows_unchanged], [rows_skipped], [rows_stale], [rows_deduplicated], [rows_deleted], [metadata], [user_metadata], [library], [writer] FROM [dbo].[txfiles_commits] WHERE table_name = ? AND version >= 0 ORDER BY version DESC
SELECT TOP (1) 1 FROM [dbo].[customers] WITH (TABLOCKX, HOLDLOCK)
SELECT count(*) FROM [dbo].[customers] AS t WHERE (CAST(t.[name] AS VARBINARY(MAX)) IN (CAST(? AS VARBINARY(MAX)), CAST(? AS VARBINARY(MAX))))
DELETE t FROM [dbo].[customers] AS t WHERE (CAST(t.[name] AS VARBINARY(MAX)) IN (CAST(? AS VARBINARY(MAX)), CAST(? AS VARBINARY(MAX))))
INSERT INTO [dbo].[customers] ([name], [n], [at], [note], [m]) SELECT s.c0, s.c1, s.c2, s.c3, s.c4 FROM #txfiles_batch AS s ORDER BY s.n
INSERT INTO [dbo].[txfiles_commits] ([table_name], [version], [commit_id], [time_us], [operation], [scope], [batch_id], [key_columns], [timestamp_col], [read_version], [rows_in], [rows_inserted], [rows_updated], [rows_unchanged], [rows_skipped], [rows_stale], [rows_deduplicated], [rows_deleted], [metadata], [user_metadata], [library], [writer]) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
COMMIT

-- upsert without the index: one key is there twice
SELECT SCHEMA_NAME()
SELECT 1 FROM sys.objects AS o JOIN sys.schemas AS s ON s.schema_id = o.schema_id WHERE o.type IN ('U', 'V') AND s.name = ? AND o.name = ?
SELECT 1 FROM sys.objects AS o JOIN sys.schemas AS s ON s.schema_id = o.schema_id WHERE o.type IN ('U', 'V') AND s.name = ? AND o.name = ?
SELECT TOP (1) [table_name], [version], [commit_id], [time_us], [operation], [scope], [batch_id], [key_columns], [timestamp_col], [read_version], [rows_in], [rows_inserted], [rows_updated], [rows_unchanged], [rows_skipped], [rows_stale], [rows_deduplicated], [rows_deleted], [metadata], [user_metadata], [library], [writer] FROM [dbo].[txfiles_commits] WHERE table_name = ? AND version >= 0 ORDER BY version DESC
CREATE TABLE #txfiles_batch (n BIGINT NOT NULL PRIMARY KEY, c0 NVARCHAR(190) COLLATE Latin1_General_100_BIN2, c1 INT, c2 DATETIME2(6), c3 NVARCHAR(MAX) COLLATE Latin1_General_100_BIN2, c4 INT)
BEGIN TRANSACTION
INSERT INTO #txfiles_batch VALUES (?, ?, ?, ?, ?, ?)
COMMIT
SET TRANSACTION ISOLATION LEVEL READ COMMITTED
BEGIN TRANSACTION
DECLARE @got INT; EXEC @got = sys.sp_getapplock @Resource = ?, @LockMode = 'Exclusive', @LockOwner = 'Transaction', @LockTimeout = ?; SELECT @got
SELECT SCHEMA_NAME()
SELECT 1 FROM sys.objects AS o JOIN sys.schemas AS s ON s.schema_id = o.schema_id WHERE o.type IN ('U', 'V') AND s.name = ? AND o.name = ?
SELECT 1 FROM sys.objects AS o JOIN sys.schemas AS s ON s.schema_id = o.schema_id WHERE o.type IN ('U', 'V') AND s.name = ? AND o.name = ?
SELECT TOP (1) [table_name], [version], [commit_id], [time_us], [operation], [scope], [batch_id], [key_columns], [timestamp_col], [read_version], [rows_in], [rows_inserted], [rows_updated], [rows_unchanged], [rows_skipped], [rows_stale], [rows_deduplicated], [rows_deleted], [metadata], [user_metadata], [library], [writer] FROM [dbo].[txfiles_commits] WHERE table_name = ? AND version >= 0 ORDER BY version DESC
SELECT TOP (1) 1 FROM [dbo].[customers] WITH (TABLOCKX, HOLDLOCK)
SELECT 1 FROM sys.indexes AS i JOIN sys.objects AS o ON o.object_id = i.object_id JOIN sys.schemas AS s ON s.schema_id = o.schema_id WHERE i.is_unique = 1 AND i.is_disabled = 0 AND i.has_filter = 0 AND s.name = ? AND o.name = ? AND i.name = ?
SELECT s.n AS n, CASE WHEN t.[name] IS NULL THEN 'i' WHEN (t.[at] IS NOT NULL AND (s.c2 IS NULL OR s.c2 < t.[at])) THEN 's' WHEN EXISTS (SELECT s.c2 INTERSECT SELECT t.[at]) AND EXISTS (SELECT s.c3, DATALENGTH(s.c3) INTERSECT SELECT t.[note], DATALENGTH(t.[note])) AND EXISTS (SELECT s.c4 INTERSECT SELECT t.[m]) THEN 'u' ELSE 'c' END AS fate INTO #txfiles_found FROM #txfiles_batch AS s LEFT JOIN [dbo].[customers] AS t ON t.[name] = s.c0 AND DATALENGTH(t.[name]) = DATALENGTH(s.c0) AND t.[n] = s.c1
SELECT n, CASE WHEN count(*) = 1 THEN max(fate) WHEN sum(CASE WHEN fate = 's' THEN 1 ELSE 0 END) > 0 THEN 's' WHEN sum(CASE WHEN fate = 'u' THEN 1 ELSE 0 END) > 0 THEN 'u' ELSE 'c' END AS fate, count(*) AS hits INTO #txfiles_fates FROM #txfiles_found GROUP BY n
SELECT fate, count(*), sum(hits) FROM #txfiles_fates GROUP BY fate
SELECT 1 FROM sys.indexes AS i JOIN sys.objects AS o ON o.object_id = i.object_id JOIN sys.schemas AS s ON s.schema_id = o.schema_id WHERE i.is_unique = 1 AND i.is_disabled = 0 AND i.has_filter = 0 AND s.name = ? AND o.name = ? AND i.name = ?
UPDATE t SET [at] = s.c2, [note] = s.c3, [m] = s.c4 FROM #txfiles_batch AS s JOIN #txfiles_fates AS f ON f.n = s.n JOIN [dbo].[customers] AS t ON t.[name] = s.c0 AND DATALENGTH(t.[name]) = DATALENGTH(s.c0) AND t.[n] = s.c1 WHERE f.fate = 'c' AND f.hits = 1
DELETE t FROM [dbo].[customers] AS t WHERE EXISTS (SELECT 1 FROM #txfiles_batch AS s JOIN #txfiles_fates AS f ON f.n = s.n WHERE t.[name] = s.c0 AND DATALENGTH(t.[name]) = DATALENGTH(s.c0) AND t.[n] = s.c1 AND (f.hits > 1 AND f.fate IN ('c', 'u')))
INSERT INTO [dbo].[customers] ([name], [n], [at], [note], [m]) SELECT s.c0, s.c1, s.c2, s.c3, s.c4 FROM #txfiles_batch AS s JOIN #txfiles_fates AS f ON f.n = s.n WHERE f.fate = 'i' OR (f.hits > 1 AND f.fate IN ('c', 'u')) ORDER BY s.n
INSERT INTO [dbo].[txfiles_commits] ([table_name], [version], [commit_id], [time_us], [operation], [scope], [batch_id], [key_columns], [timestamp_col], [read_version], [rows_in], [rows_inserted], [rows_updated], [rows_unchanged], [rows_skipped], [rows_stale], [rows_deduplicated], [rows_deleted], [metadata], [user_metadata], [library], [writer]) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
COMMIT

-- append_once without the index
SELECT SCHEMA_NAME()
SELECT 1 FROM sys.objects AS o JOIN sys.schemas AS s ON s.schema_id = o.schema_id WHERE o.type IN ('U', 'V') AND s.name = ? AND o.name = ?
SELECT 1 FROM sys.objects AS o JOIN sys.schemas AS s ON s.schema_id = o.schema_id WHERE o.type IN ('U', 'V') AND s.name = ? AND o.name = ?
SELECT TOP (1) [table_name], [version], [commit_id], [time_us], [operation], [scope], [batch_id], [key_columns], [timestamp_col], [read_version], [rows_in], [rows_inserted], [rows_updated], [rows_unchanged], [rows_skipped], [rows_stale], [rows_deduplicated], [rows_deleted], [metadata], [user_metadata], [library], [writer] FROM [dbo].[txfiles_commits] WHERE table_name = ? AND version >= 0 ORDER BY version DESC
CREATE TABLE #txfiles_batch (n BIGINT NOT NULL PRIMARY KEY, c0 NVARCHAR(190) COLLATE Latin1_General_100_BIN2, c1 INT, c2 DATETIME2(6), c3 NVARCHAR(MAX) COLLATE Latin1_General_100_BIN2, c4 INT)
BEGIN TRANSACTION
INSERT INTO #txfiles_batch VALUES (?, ?, ?, ?, ?, ?)
COMMIT
SET TRANSACTION ISOLATION LEVEL READ COMMITTED
BEGIN TRANSACTION
DECLARE @got INT; EXEC @got = sys.sp_getapplock @Resource = ?, @LockMode = 'Exclusive', @LockOwner = 'Transaction', @LockTimeout = ?; SELECT @got
SELECT SCHEMA_NAME()
SELECT 1 FROM sys.objects AS o JOIN sys.schemas AS s ON s.schema_id = o.schema_id WHERE o.type IN ('U', 'V') AND s.name = ? AND o.name = ?
SELECT 1 FROM sys.objects AS o JOIN sys.schemas AS s ON s.schema_id = o.schema_id WHERE o.type IN ('U', 'V') AND s.name = ? AND o.name = ?
SELECT TOP (1) [table_name], [version], [commit_id], [time_us], [operation], [scope], [batch_id], [key_columns], [timestamp_col], [read_version], [rows_in], [rows_inserted], [rows_updated], [rows_unchanged], [rows_skipped], [rows_stale], [rows_deduplicated], [rows_deleted], [metadata], [user_metadata], [library], [writer] FROM [dbo].[txfiles_commits] WHERE table_name = ? AND version >= 0 ORDER BY version DESC
SELECT TOP (1) 1 FROM [dbo].[customers] WITH (TABLOCKX, HOLDLOCK)
SELECT 1 FROM sys.indexes AS i JOIN sys.objects AS o ON o.object_id = i.object_id JOIN sys.schemas AS s ON s.schema_id = o.schema_id WHERE i.is_unique = 1 AND i.is_disabled = 0 AND i.has_filter = 0 AND s.name = ? AND o.name = ? AND i.name = ?
SELECT s.n AS n, CASE WHEN EXISTS (SELECT 1 FROM [dbo].[customers] AS t WHERE t.[name] = s.c0 AND DATALENGTH(t.[name]) = DATALENGTH(s.c0) AND t.[n] = s.c1) THEN 'k' ELSE 'i' END AS fate, 1 AS hits INTO #txfiles_fates FROM #txfiles_batch AS s
SELECT fate, count(*), sum(hits) FROM #txfiles_fates GROUP BY fate
SELECT 1 FROM sys.indexes AS i JOIN sys.objects AS o ON o.object_id = i.object_id JOIN sys.schemas AS s ON s.schema_id = o.schema_id WHERE i.is_unique = 1 AND i.is_disabled = 0 AND i.has_filter = 0 AND s.name = ? AND o.name = ? AND i.name = ?
INSERT INTO [dbo].[customers] ([name], [n], [at], [note], [m]) SELECT s.c0, s.c1, s.c2, s.c3, s.c4 FROM #txfiles_batch AS s JOIN #txfiles_fates AS f ON f.n = s.n WHERE f.fate = 'i' OR (f.hits > 1 AND f.fate IN ('c', 'u')) ORDER BY s.n
INSERT INTO [dbo].[txfiles_commits] ([table_name], [version], [commit_id], [time_us], [operation], [scope], [batch_id], [key_columns], [timestamp_col], [read_version], [rows_in], [rows_inserted], [rows_updated], [rows_unchanged], [rows_skipped], [rows_stale], [rows_deduplicated], [rows_deleted], [metadata], [user_metadata], [library], [writer]) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
COMMIT

-- columns are added and widened, and the keys are replaced
SELECT SCHEMA_NAME()
SELECT 1 FROM sys.objects AS o JOIN sys.schemas AS s ON s.schema_id = o.schema_id WHERE o.type IN ('U', 'V') AND s.name = ? AND o.name = ?
SELECT 1 FROM sys.objects AS o JOIN sys.schemas AS s ON s.schema_id = o.schema_id WHERE o.type IN ('U', 'V') AND s.name = ? AND o.name = ?
SELECT TOP (1) [table_name], [version], [commit_id], [time_us], [operation], [scope], [batch_id], [key_columns], [timestamp_col], [read_version], [rows_in], [rows_inserted], [rows_updated], [rows_unchanged], [rows_skipped], [rows_stale], [rows_deduplicated], [rows_deleted], [metadata], [user_metadata], [library], [writer] FROM [dbo].[txfiles_commits] WHERE table_name = ? AND version >= 0 ORDER BY version DESC
CREATE TABLE #txfiles_batch (n BIGINT NOT NULL PRIMARY KEY, c0 NVARCHAR(MAX) COLLATE Latin1_General_100_BIN2, c1 INT, c2 DATETIME2(6), c3 NVARCHAR(MAX) COLLATE Latin1_General_100_BIN2, c4 BIGINT, c5 FLOAT(53))
BEGIN TRANSACTION
INSERT INTO #txfiles_batch VALUES (?, ?, ?, ?, ?, ?, ?)
COMMIT
SET TRANSACTION ISOLATION LEVEL READ COMMITTED
BEGIN TRANSACTION
DECLARE @got INT; EXEC @got = sys.sp_getapplock @Resource = ?, @LockMode = 'Exclusive', @LockOwner = 'Transaction', @LockTimeout = ?; SELECT @got
SELECT SCHEMA_NAME()
SELECT 1 FROM sys.objects AS o JOIN sys.schemas AS s ON s.schema_id = o.schema_id WHERE o.type IN ('U', 'V') AND s.name = ? AND o.name = ?
SELECT 1 FROM sys.objects AS o JOIN sys.schemas AS s ON s.schema_id = o.schema_id WHERE o.type IN ('U', 'V') AND s.name = ? AND o.name = ?
SELECT TOP (1) [table_name], [version], [commit_id], [time_us], [operation], [scope], [batch_id], [key_columns], [timestamp_col], [read_version], [rows_in], [rows_inserted], [rows_updated], [rows_unchanged], [rows_skipped], [rows_stale], [rows_deduplicated], [rows_deleted], [metadata], [user_metadata], [library], [writer] FROM [dbo].[txfiles_commits] WHERE table_name = ? AND version >= 0 ORDER BY version DESC
SELECT TOP (1) 1 FROM [dbo].[customers] WITH (TABLOCKX, HOLDLOCK)
ALTER TABLE [dbo].[customers] ALTER COLUMN [m] BIGINT
ALTER TABLE [dbo].[customers] ADD [extra] FLOAT(53)
SELECT s.n AS n, CASE WHEN t.[n] IS NULL THEN 'i' WHEN (t.[at] IS NOT NULL AND (s.c2 IS NULL OR s.c2 < t.[at])) THEN 's' WHEN EXISTS (SELECT s.c0, DATALENGTH(s.c0) INTERSECT SELECT t.[name], DATALENGTH(t.[name])) AND EXISTS (SELECT s.c2 INTERSECT SELECT t.[at]) AND EXISTS (SELECT s.c3, DATALENGTH(s.c3) INTERSECT SELECT t.[note], DATALENGTH(t.[note])) AND EXISTS (SELECT s.c4 INTERSECT SELECT t.[m]) AND EXISTS (SELECT s.c5 INTERSECT SELECT t.[extra]) THEN 'u' ELSE 'c' END AS fate INTO #txfiles_found FROM #txfiles_batch AS s LEFT JOIN [dbo].[customers] AS t ON t.[n] = s.c1
SELECT n, CASE WHEN count(*) = 1 THEN max(fate) WHEN sum(CASE WHEN fate = 's' THEN 1 ELSE 0 END) > 0 THEN 's' WHEN sum(CASE WHEN fate = 'u' THEN 1 ELSE 0 END) > 0 THEN 'u' ELSE 'c' END AS fate, count(*) AS hits INTO #txfiles_fates FROM #txfiles_found GROUP BY n
SELECT fate, count(*), sum(hits) FROM #txfiles_fates GROUP BY fate
SELECT 1 FROM sys.indexes AS i JOIN sys.objects AS o ON o.object_id = i.object_id JOIN sys.schemas AS s ON s.schema_id = o.schema_id WHERE i.is_unique = 1 AND i.is_disabled = 0 AND i.has_filter = 0 AND s.name = ? AND o.name = ? AND i.name = ?
DROP INDEX [txfiles_keys_7dbe5245bf71a58f40958e65] ON [dbo].[customers]
UPDATE t SET [name] = s.c0, [at] = s.c2, [note] = s.c3, [m] = s.c4, [extra] = s.c5 FROM #txfiles_batch AS s JOIN #txfiles_fates AS f ON f.n = s.n JOIN [dbo].[customers] AS t ON t.[n] = s.c1 WHERE f.fate = 'c' AND f.hits = 1
INSERT INTO [dbo].[customers] ([name], [n], [at], [note], [m], [extra]) SELECT s.c0, s.c1, s.c2, s.c3, s.c4, s.c5 FROM #txfiles_batch AS s JOIN #txfiles_fates AS f ON f.n = s.n WHERE f.fate = 'i' OR (f.hits > 1 AND f.fate IN ('c', 'u')) ORDER BY s.n
SELECT TOP (1) 1 FROM [dbo].[customers] GROUP BY [n] HAVING count(*) > 1
CREATE UNIQUE INDEX [txfiles_keys_c7d4aa7fdff710d9be14b5a7] ON [dbo].[customers] ([n])
INSERT INTO [dbo].[txfiles_commits] ([table_name], [version], [commit_id], [time_us], [operation], [scope], [batch_id], [key_columns], [timestamp_col], [read_version], [rows_in], [rows_inserted], [rows_updated], [rows_unchanged], [rows_skipped], [rows_stale], [rows_deduplicated], [rows_deleted], [metadata], [user_metadata], [library], [writer]) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
COMMIT

-- plan
SELECT SCHEMA_NAME()
SELECT 1 FROM sys.objects AS o JOIN sys.schemas AS s ON s.schema_id = o.schema_id WHERE o.type IN ('U', 'V') AND s.name = ? AND o.name = ?
SELECT 1 FROM sys.objects AS o JOIN sys.schemas AS s ON s.schema_id = o.schema_id WHERE o.type IN ('U', 'V') AND s.name = ? AND o.name = ?
SELECT TOP (1) [table_name], [version], [commit_id], [time_us], [operation], [scope], [batch_id], [key_columns], [timestamp_col], [read_version], [rows_in], [rows_inserted], [rows_updated], [rows_unchanged], [rows_skipped], [rows_stale], [rows_deduplicated], [rows_deleted], [metadata], [user_metadata], [library], [writer] FROM [dbo].[txfiles_commits] WHERE table_name = ? AND version >= 0 ORDER BY version DESC
CREATE TABLE #txfiles_batch (n BIGINT NOT NULL PRIMARY KEY, c0 NVARCHAR(MAX) COLLATE Latin1_General_100_BIN2, c1 INT, c2 DATETIME2(6), c3 NVARCHAR(MAX) COLLATE Latin1_General_100_BIN2, c4 BIGINT, c5 FLOAT(53))
BEGIN TRANSACTION
INSERT INTO #txfiles_batch VALUES (?, ?, ?, ?, ?, ?, ?)
COMMIT
SET TRANSACTION ISOLATION LEVEL READ COMMITTED
BEGIN TRANSACTION
DECLARE @got INT; EXEC @got = sys.sp_getapplock @Resource = ?, @LockMode = 'Exclusive', @LockOwner = 'Transaction', @LockTimeout = ?; SELECT @got
SELECT 1 FROM sys.indexes AS i JOIN sys.objects AS o ON o.object_id = i.object_id JOIN sys.schemas AS s ON s.schema_id = o.schema_id WHERE i.is_unique = 1 AND i.is_disabled = 0 AND i.has_filter = 0 AND s.name = ? AND o.name = ? AND i.name = ?
SELECT fate, count(*), count(*) FROM (SELECT CASE WHEN t.[n] IS NULL THEN 'i' WHEN (t.[at] IS NOT NULL AND (s.c2 IS NULL OR s.c2 < t.[at])) THEN 's' WHEN EXISTS (SELECT s.c0, DATALENGTH(s.c0) INTERSECT SELECT t.[name], DATALENGTH(t.[name])) AND EXISTS (SELECT s.c2 INTERSECT SELECT t.[at]) AND EXISTS (SELECT s.c3, DATALENGTH(s.c3) INTERSECT SELECT t.[note], DATALENGTH(t.[note])) AND EXISTS (SELECT s.c4 INTERSECT SELECT t.[m]) AND EXISTS (SELECT s.c5 INTERSECT SELECT t.[extra]) THEN 'u' ELSE 'c' END AS fate FROM #txfiles_batch AS s LEFT JOIN [dbo].[customers] AS t ON t.[n] = s.c1) AS f GROUP BY fate
ROLLBACK
SET LOCK_TIMEOUT 59999
SET TRANSACTION ISOLATION LEVEL SNAPSHOT
BEGIN TRANSACTION
SELECT SCHEMA_NAME()
SELECT 1 FROM sys.objects AS o JOIN sys.schemas AS s ON s.schema_id = o.schema_id WHERE o.type IN ('U', 'V') AND s.name = ? AND o.name = ?
SELECT 1 FROM sys.objects AS o JOIN sys.schemas AS s ON s.schema_id = o.schema_id WHERE o.type IN ('U', 'V') AND s.name = ? AND o.name = ?
SELECT TOP (1) [table_name], [version], [commit_id], [time_us], [operation], [scope], [batch_id], [key_columns], [timestamp_col], [read_version], [rows_in], [rows_inserted], [rows_updated], [rows_unchanged], [rows_skipped], [rows_stale], [rows_deduplicated], [rows_deleted], [metadata], [user_metadata], [library], [writer] FROM [dbo].[txfiles_commits] WHERE table_name = ? AND version >= 0 ORDER BY version DESC

-- delete by a filter that the database knows
SELECT SCHEMA_NAME()
SELECT 1 FROM sys.objects AS o JOIN sys.schemas AS s ON s.schema_id = o.schema_id WHERE o.type IN ('U', 'V') AND s.name = ? AND o.name = ?
SELECT 1 FROM sys.objects AS o JOIN sys.schemas AS s ON s.schema_id = o.schema_id WHERE o.type IN ('U', 'V') AND s.name = ? AND o.name = ?
SELECT TOP (1) [table_name], [version], [commit_id], [time_us], [operation], [scope], [batch_id], [key_columns], [timestamp_col], [read_version], [rows_in], [rows_inserted], [rows_updated], [rows_unchanged], [rows_skipped], [rows_stale], [rows_deduplicated], [rows_deleted], [metadata], [user_metadata], [library], [writer] FROM [dbo].[txfiles_commits] WHERE table_name = ? AND version >= 0 ORDER BY version DESC
SET TRANSACTION ISOLATION LEVEL READ COMMITTED
BEGIN TRANSACTION
DECLARE @got INT; EXEC @got = sys.sp_getapplock @Resource = ?, @LockMode = 'Exclusive', @LockOwner = 'Transaction', @LockTimeout = ?; SELECT @got
SELECT SCHEMA_NAME()
SELECT 1 FROM sys.objects AS o JOIN sys.schemas AS s ON s.schema_id = o.schema_id WHERE o.type IN ('U', 'V') AND s.name = ? AND o.name = ?
SELECT 1 FROM sys.objects AS o JOIN sys.schemas AS s ON s.schema_id = o.schema_id WHERE o.type IN ('U', 'V') AND s.name = ? AND o.name = ?
SELECT TOP (1) [table_name], [version], [commit_id], [time_us], [operation], [scope], [batch_id], [key_columns], [timestamp_col], [read_version], [rows_in], [rows_inserted], [rows_updated], [rows_unchanged], [rows_skipped], [rows_stale], [rows_deduplicated], [rows_deleted], [metadata], [user_metadata], [library], [writer] FROM [dbo].[txfiles_commits] WHERE table_name = ? AND version >= 0 ORDER BY version DESC
SELECT TOP (1) 1 FROM [dbo].[customers] WITH (TABLOCKX, HOLDLOCK)
SELECT count(*) FROM [dbo].[customers] AS t WHERE (CAST(t.[note] AS VARBINARY(MAX)) <> CAST(? AS VARBINARY(MAX))) AND (t.[at] < ?) AND (t.[extra] = ?)
DELETE t FROM [dbo].[customers] AS t WHERE (CAST(t.[note] AS VARBINARY(MAX)) <> CAST(? AS VARBINARY(MAX))) AND (t.[at] < ?) AND (t.[extra] = ?)
INSERT INTO [dbo].[txfiles_commits] ([table_name], [version], [commit_id], [time_us], [operation], [scope], [batch_id], [key_columns], [timestamp_col], [read_version], [rows_in], [rows_inserted], [rows_updated], [rows_unchanged], [rows_skipped], [rows_stale], [rows_deduplicated], [rows_deleted], [metadata], [user_metadata], [library], [writer]) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
COMMIT
SET LOCK_TIMEOUT 59999
SET TRANSACTION ISOLATION LEVEL SNAPSHOT
BEGIN TRANSACTION
SELECT SCHEMA_NAME()
SELECT 1 FROM sys.objects AS o JOIN sys.schemas AS s ON s.schema_id = o.schema_id WHERE o.type IN ('U', 'V') AND s.name = ? AND o.name = ?
SELECT 1 FROM sys.objects AS o JOIN sys.schemas AS s ON s.schema_id = o.schema_id WHERE o.type IN ('U', 'V') AND s.name = ? AND o.name = ?
SELECT TOP (1) [table_name], [version], [commit_id], [time_us], [operation], [scope], [batch_id], [key_columns], [timestamp_col], [read_version], [rows_in], [rows_inserted], [rows_updated], [rows_unchanged], [rows_skipped], [rows_stale], [rows_deduplicated], [rows_deleted], [metadata], [user_metadata], [library], [writer] FROM [dbo].[txfiles_commits] WHERE table_name = ? AND version >= 0 ORDER BY version DESC
SET LOCK_TIMEOUT 59999
SET TRANSACTION ISOLATION LEVEL SNAPSHOT
BEGIN TRANSACTION
SELECT SCHEMA_NAME()
SELECT 1 FROM sys.objects AS o JOIN sys.schemas AS s ON s.schema_id = o.schema_id WHERE o.type IN ('U', 'V') AND s.name = ? AND o.name = ?
SELECT 1 FROM sys.objects AS o JOIN sys.schemas AS s ON s.schema_id = o.schema_id WHERE o.type IN ('U', 'V') AND s.name = ? AND o.name = ?
SELECT TOP (1) [table_name], [version], [commit_id], [time_us], [operation], [scope], [batch_id], [key_columns], [timestamp_col], [read_version], [rows_in], [rows_inserted], [rows_updated], [rows_unchanged], [rows_skipped], [rows_stale], [rows_deduplicated], [rows_deleted], [metadata], [user_metadata], [library], [writer] FROM [dbo].[txfiles_commits] WHERE table_name = ? AND version >= 0 ORDER BY version DESC

-- delete by a filter that Arrow knows
SELECT SCHEMA_NAME()
SELECT 1 FROM sys.objects AS o JOIN sys.schemas AS s ON s.schema_id = o.schema_id WHERE o.type IN ('U', 'V') AND s.name = ? AND o.name = ?
SELECT 1 FROM sys.objects AS o JOIN sys.schemas AS s ON s.schema_id = o.schema_id WHERE o.type IN ('U', 'V') AND s.name = ? AND o.name = ?
SELECT TOP (1) [table_name], [version], [commit_id], [time_us], [operation], [scope], [batch_id], [key_columns], [timestamp_col], [read_version], [rows_in], [rows_inserted], [rows_updated], [rows_unchanged], [rows_skipped], [rows_stale], [rows_deduplicated], [rows_deleted], [metadata], [user_metadata], [library], [writer] FROM [dbo].[txfiles_commits] WHERE table_name = ? AND version >= 0 ORDER BY version DESC
SET TRANSACTION ISOLATION LEVEL READ COMMITTED
BEGIN TRANSACTION
DECLARE @got INT; EXEC @got = sys.sp_getapplock @Resource = ?, @LockMode = 'Exclusive', @LockOwner = 'Transaction', @LockTimeout = ?; SELECT @got
SELECT SCHEMA_NAME()
SELECT 1 FROM sys.objects AS o JOIN sys.schemas AS s ON s.schema_id = o.schema_id WHERE o.type IN ('U', 'V') AND s.name = ? AND o.name = ?
SELECT 1 FROM sys.objects AS o JOIN sys.schemas AS s ON s.schema_id = o.schema_id WHERE o.type IN ('U', 'V') AND s.name = ? AND o.name = ?
SELECT TOP (1) [table_name], [version], [commit_id], [time_us], [operation], [scope], [batch_id], [key_columns], [timestamp_col], [read_version], [rows_in], [rows_inserted], [rows_updated], [rows_unchanged], [rows_skipped], [rows_stale], [rows_deduplicated], [rows_deleted], [metadata], [user_metadata], [library], [writer] FROM [dbo].[txfiles_commits] WHERE table_name = ? AND version >= 0 ORDER BY version DESC
SELECT TOP (1) 1 FROM [dbo].[customers] WITH (TABLOCKX, HOLDLOCK)
SELECT t.[note] FROM [dbo].[customers] AS t WHERE 1 = 1
CREATE TABLE #txfiles_chosen (n BIGINT NOT NULL PRIMARY KEY, c0 NVARCHAR(MAX) COLLATE Latin1_General_100_BIN2)
INSERT INTO #txfiles_chosen VALUES (?, ?)
SELECT count(*) FROM [dbo].[customers] AS t WHERE (1 = 1) AND EXISTS (SELECT 1 FROM #txfiles_chosen AS s WHERE s.c0 IS NOT NULL AND t.[note] = s.c0 AND DATALENGTH(t.[note]) = DATALENGTH(s.c0))
DELETE t FROM [dbo].[customers] AS t WHERE (1 = 1) AND EXISTS (SELECT 1 FROM #txfiles_chosen AS s WHERE s.c0 IS NOT NULL AND t.[note] = s.c0 AND DATALENGTH(t.[note]) = DATALENGTH(s.c0))
INSERT INTO [dbo].[txfiles_commits] ([table_name], [version], [commit_id], [time_us], [operation], [scope], [batch_id], [key_columns], [timestamp_col], [read_version], [rows_in], [rows_inserted], [rows_updated], [rows_unchanged], [rows_skipped], [rows_stale], [rows_deduplicated], [rows_deleted], [metadata], [user_metadata], [library], [writer]) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
COMMIT
SET LOCK_TIMEOUT 59999
SET TRANSACTION ISOLATION LEVEL SNAPSHOT
BEGIN TRANSACTION
SELECT SCHEMA_NAME()
SELECT 1 FROM sys.objects AS o JOIN sys.schemas AS s ON s.schema_id = o.schema_id WHERE o.type IN ('U', 'V') AND s.name = ? AND o.name = ?
SELECT 1 FROM sys.objects AS o JOIN sys.schemas AS s ON s.schema_id = o.schema_id WHERE o.type IN ('U', 'V') AND s.name = ? AND o.name = ?
SELECT TOP (1) [table_name], [version], [commit_id], [time_us], [operation], [scope], [batch_id], [key_columns], [timestamp_col], [read_version], [rows_in], [rows_inserted], [rows_updated], [rows_unchanged], [rows_skipped], [rows_stale], [rows_deduplicated], [rows_deleted], [metadata], [user_metadata], [library], [writer] FROM [dbo].[txfiles_commits] WHERE table_name = ? AND version >= 0 ORDER BY version DESC
SET LOCK_TIMEOUT 59999
SET TRANSACTION ISOLATION LEVEL SNAPSHOT
BEGIN TRANSACTION
SELECT SCHEMA_NAME()
SELECT 1 FROM sys.objects AS o JOIN sys.schemas AS s ON s.schema_id = o.schema_id WHERE o.type IN ('U', 'V') AND s.name = ? AND o.name = ?
SELECT 1 FROM sys.objects AS o JOIN sys.schemas AS s ON s.schema_id = o.schema_id WHERE o.type IN ('U', 'V') AND s.name = ? AND o.name = ?
SELECT TOP (1) [table_name], [version], [commit_id], [time_us], [operation], [scope], [batch_id], [key_columns], [timestamp_col], [read_version], [rows_in], [rows_inserted], [rows_updated], [rows_unchanged], [rows_skipped], [rows_stale], [rows_deduplicated], [rows_deleted], [metadata], [user_metadata], [library], [writer] FROM [dbo].[txfiles_commits] WHERE table_name = ? AND version >= 0 ORDER BY version DESC

-- delete by keys
SELECT SCHEMA_NAME()
SELECT 1 FROM sys.objects AS o JOIN sys.schemas AS s ON s.schema_id = o.schema_id WHERE o.type IN ('U', 'V') AND s.name = ? AND o.name = ?
SELECT 1 FROM sys.objects AS o JOIN sys.schemas AS s ON s.schema_id = o.schema_id WHERE o.type IN ('U', 'V') AND s.name = ? AND o.name = ?
SELECT TOP (1) [table_name], [version], [commit_id], [time_us], [operation], [scope], [batch_id], [key_columns], [timestamp_col], [read_version], [rows_in], [rows_inserted], [rows_updated], [rows_unchanged], [rows_skipped], [rows_stale], [rows_deduplicated], [rows_deleted], [metadata], [user_metadata], [library], [writer] FROM [dbo].[txfiles_commits] WHERE table_name = ? AND version >= 0 ORDER BY version DESC
SET TRANSACTION ISOLATION LEVEL READ COMMITTED
BEGIN TRANSACTION
DECLARE @got INT; EXEC @got = sys.sp_getapplock @Resource = ?, @LockMode = 'Exclusive', @LockOwner = 'Transaction', @LockTimeout = ?; SELECT @got
SELECT SCHEMA_NAME()
SELECT 1 FROM sys.objects AS o JOIN sys.schemas AS s ON s.schema_id = o.schema_id WHERE o.type IN ('U', 'V') AND s.name = ? AND o.name = ?
SELECT 1 FROM sys.objects AS o JOIN sys.schemas AS s ON s.schema_id = o.schema_id WHERE o.type IN ('U', 'V') AND s.name = ? AND o.name = ?
SELECT TOP (1) [table_name], [version], [commit_id], [time_us], [operation], [scope], [batch_id], [key_columns], [timestamp_col], [read_version], [rows_in], [rows_inserted], [rows_updated], [rows_unchanged], [rows_skipped], [rows_stale], [rows_deduplicated], [rows_deleted], [metadata], [user_metadata], [library], [writer] FROM [dbo].[txfiles_commits] WHERE table_name = ? AND version >= 0 ORDER BY version DESC
SELECT TOP (1) 1 FROM [dbo].[customers] WITH (TABLOCKX, HOLDLOCK)
CREATE TABLE #txfiles_chosen (n BIGINT NOT NULL PRIMARY KEY, c0 INT)
INSERT INTO #txfiles_chosen VALUES (?, ?)
SELECT count(*) FROM [dbo].[customers] AS t WHERE EXISTS (SELECT 1 FROM #txfiles_chosen AS s WHERE s.c0 IS NOT NULL AND t.[n] = s.c0)
DELETE t FROM [dbo].[customers] AS t WHERE EXISTS (SELECT 1 FROM #txfiles_chosen AS s WHERE s.c0 IS NOT NULL AND t.[n] = s.c0)
INSERT INTO [dbo].[txfiles_commits] ([table_name], [version], [commit_id], [time_us], [operation], [scope], [batch_id], [key_columns], [timestamp_col], [read_version], [rows_in], [rows_inserted], [rows_updated], [rows_unchanged], [rows_skipped], [rows_stale], [rows_deduplicated], [rows_deleted], [metadata], [user_metadata], [library], [writer]) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
COMMIT
SET LOCK_TIMEOUT 59999
SET TRANSACTION ISOLATION LEVEL SNAPSHOT
BEGIN TRANSACTION
SELECT SCHEMA_NAME()
SELECT 1 FROM sys.objects AS o JOIN sys.schemas AS s ON s.schema_id = o.schema_id WHERE o.type IN ('U', 'V') AND s.name = ? AND o.name = ?
SELECT 1 FROM sys.objects AS o JOIN sys.schemas AS s ON s.schema_id = o.schema_id WHERE o.type IN ('U', 'V') AND s.name = ? AND o.name = ?
SELECT TOP (1) [table_name], [version], [commit_id], [time_us], [operation], [scope], [batch_id], [key_columns], [timestamp_col], [read_version], [rows_in], [rows_inserted], [rows_updated], [rows_unchanged], [rows_skipped], [rows_stale], [rows_deduplicated], [rows_deleted], [metadata], [user_metadata], [library], [writer] FROM [dbo].[txfiles_commits] WHERE table_name = ? AND version >= 0 ORDER BY version DESC

-- read, look up, count, history, resolve
SET LOCK_TIMEOUT 59999
SET TRANSACTION ISOLATION LEVEL SNAPSHOT
BEGIN TRANSACTION
SELECT SCHEMA_NAME()
SELECT 1 FROM sys.objects AS o JOIN sys.schemas AS s ON s.schema_id = o.schema_id WHERE o.type IN ('U', 'V') AND s.name = ? AND o.name = ?
SELECT 1 FROM sys.objects AS o JOIN sys.schemas AS s ON s.schema_id = o.schema_id WHERE o.type IN ('U', 'V') AND s.name = ? AND o.name = ?
SELECT TOP (1) [table_name], [version], [commit_id], [time_us], [operation], [scope], [batch_id], [key_columns], [timestamp_col], [read_version], [rows_in], [rows_inserted], [rows_updated], [rows_unchanged], [rows_skipped], [rows_stale], [rows_deduplicated], [rows_deleted], [metadata], [user_metadata], [library], [writer] FROM [dbo].[txfiles_commits] WHERE table_name = ? AND version >= 0 ORDER BY version DESC
SET LOCK_TIMEOUT 59999
SET TRANSACTION ISOLATION LEVEL SNAPSHOT
BEGIN TRANSACTION
SELECT TOP (1) [table_name], [version], [commit_id], [time_us], [operation], [scope], [batch_id], [key_columns], [timestamp_col], [read_version], [rows_in], [rows_inserted], [rows_updated], [rows_unchanged], [rows_skipped], [rows_stale], [rows_deduplicated], [rows_deleted], [metadata], [user_metadata], [library], [writer] FROM [dbo].[txfiles_commits] WHERE table_name = ? AND version >= 0 ORDER BY version DESC
SELECT t.[name], CAST(SWITCHOFFSET(t.[at], '+00:00') AS DATETIME2(6)), t.[n], t.[note] FROM [dbo].[customers] AS t WHERE (t.[n] >= ?) AND (t.[note] IS NOT NULL)
SET LOCK_TIMEOUT 59999
BEGIN TRANSACTION
CREATE TABLE #txfiles_chosen (n BIGINT NOT NULL PRIMARY KEY, c0 INT)
INSERT INTO #txfiles_chosen VALUES (?, ?)
COMMIT
SET TRANSACTION ISOLATION LEVEL SNAPSHOT
BEGIN TRANSACTION
SELECT TOP (1) [table_name], [version], [commit_id], [time_us], [operation], [scope], [batch_id], [key_columns], [timestamp_col], [read_version], [rows_in], [rows_inserted], [rows_updated], [rows_unchanged], [rows_skipped], [rows_stale], [rows_deduplicated], [rows_deleted], [metadata], [user_metadata], [library], [writer] FROM [dbo].[txfiles_commits] WHERE table_name = ? AND version >= 0 ORDER BY version DESC
SELECT t.[name], t.[n], CAST(SWITCHOFFSET(t.[at], '+00:00') AS DATETIME2(6)), t.[note], t.[m], t.[extra] FROM [dbo].[customers] AS t JOIN #txfiles_chosen AS s ON t.[n] = s.c0
SET LOCK_TIMEOUT 59999
SET TRANSACTION ISOLATION LEVEL SNAPSHOT
BEGIN TRANSACTION
SELECT TOP (1) [table_name], [version], [commit_id], [time_us], [operation], [scope], [batch_id], [key_columns], [timestamp_col], [read_version], [rows_in], [rows_inserted], [rows_updated], [rows_unchanged], [rows_skipped], [rows_stale], [rows_deduplicated], [rows_deleted], [metadata], [user_metadata], [library], [writer] FROM [dbo].[txfiles_commits] WHERE table_name = ? AND version >= 0 ORDER BY version DESC
SELECT count(*) FROM [dbo].[customers]
SET LOCK_TIMEOUT 59999
SELECT TOP (2) [table_name], [version], [commit_id], [time_us], [operation], [scope], [batch_id], [key_columns], [timestamp_col], [read_version], [rows_in], [rows_inserted], [rows_updated], [rows_unchanged], [rows_skipped], [rows_stale], [rows_deduplicated], [rows_deleted], [metadata], [user_metadata], [library], [writer] FROM [dbo].[txfiles_commits] WHERE table_name = ? AND version >= 0 AND version <= ? ORDER BY version DESC
SET LOCK_TIMEOUT 59999
SELECT SCHEMA_NAME()
SET TRANSACTION ISOLATION LEVEL READ COMMITTED
BEGIN TRANSACTION
DECLARE @got INT; EXEC @got = sys.sp_getapplock @Resource = ?, @LockMode = 'Exclusive', @LockOwner = 'Transaction', @LockTimeout = ?; SELECT @got
SELECT 1 FROM sys.objects AS o JOIN sys.schemas AS s ON s.schema_id = o.schema_id WHERE o.type IN ('U', 'V') AND s.name = ? AND o.name = ?
SELECT [table_name], [version], [commit_id], [time_us], [operation], [scope], [batch_id], [key_columns], [timestamp_col], [read_version], [rows_in], [rows_inserted], [rows_updated], [rows_unchanged], [rows_skipped], [rows_stale], [rows_deduplicated], [rows_deleted], [metadata], [user_metadata], [library], [writer] FROM [dbo].[txfiles_commits] WHERE table_name = ? AND version >= 0 AND commit_id = ? ORDER BY version DESC
ROLLBACK
