// The sandbox's tables, in the order they came to be. Never edit a step that was released; add one.
import type { Migration } from "../platform/database.ts";

export const MIGRATIONS: readonly Migration[] = [
  {
    name: "001-noderax",
    sql: `
      CREATE TABLE nodes (
        id TEXT PRIMARY KEY, name TEXT NOT NULL, hostname TEXT NOT NULL UNIQUE, agentToken TEXT,
        os TEXT, arch TEXT, agentVersion TEXT, platformVersion TEXT, kernelVersion TEXT,
        status TEXT NOT NULL, lastSeenAt TEXT, maintenance INTEGER NOT NULL,
        rootProfile TEXT NOT NULL, rootUpdatedAt TEXT, appliedProfile TEXT NOT NULL, lastAppliedAt TEXT, lastError TEXT,
        createdAt TEXT NOT NULL
      ) STRICT;
      CREATE TABLE enrollments (
        id TEXT PRIMARY KEY, token TEXT NOT NULL UNIQUE, email TEXT NOT NULL, hostname TEXT NOT NULL,
        additionalInfo TEXT, status TEXT NOT NULL, nodeId TEXT, expiresAt TEXT NOT NULL, createdAt TEXT NOT NULL
      ) STRICT;
      CREATE TABLE installs (
        installId TEXT PRIMARY KEY, token TEXT NOT NULL UNIQUE, nodeName TEXT NOT NULL, description TEXT,
        hostname TEXT, nodeId TEXT, status TEXT NOT NULL, stage TEXT NOT NULL, progressPercent REAL NOT NULL,
        statusMessage TEXT NOT NULL, startedAt TEXT, consumedAt TEXT, expiresAt TEXT NOT NULL,
        createdAt TEXT NOT NULL, updatedAt TEXT NOT NULL
      ) STRICT;
      CREATE TABLE tasks (
        id TEXT PRIMARY KEY, nodeId TEXT NOT NULL REFERENCES nodes (id) ON DELETE CASCADE,
        type TEXT NOT NULL, isInternal INTEGER NOT NULL, payload TEXT, status TEXT NOT NULL, result TEXT, output TEXT,
        outputTruncated INTEGER NOT NULL, leaseUntil TEXT, claimedBy TEXT, claimToken TEXT, startedAt TEXT,
        finishedAt TEXT, cancelRequestedAt TEXT, cancelReason TEXT, createdAt TEXT NOT NULL, updatedAt TEXT NOT NULL
      ) STRICT;
      CREATE INDEX tasks_by_node ON tasks (nodeId, status, createdAt);
      CREATE TABLE task_logs (
        id TEXT PRIMARY KEY, taskId TEXT NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
        level TEXT NOT NULL, stream TEXT NOT NULL, line TEXT NOT NULL, timestamp TEXT, createdAt TEXT NOT NULL
      ) STRICT;
      CREATE INDEX task_logs_by_task ON task_logs (taskId);
      CREATE TABLE metrics (
        id TEXT PRIMARY KEY, nodeId TEXT NOT NULL REFERENCES nodes (id) ON DELETE CASCADE,
        cpuUsage REAL NOT NULL, memoryUsage REAL NOT NULL, diskUsage REAL NOT NULL, temperature REAL,
        networkStats TEXT, recordedAt TEXT NOT NULL
      ) STRICT;
      CREATE TABLE events (
        id TEXT PRIMARY KEY, nodeId TEXT NOT NULL, type TEXT NOT NULL, createdAt TEXT NOT NULL
      ) STRICT;
      CREATE TABLE update_targets (
        id TEXT PRIMARY KEY, nodeId TEXT NOT NULL REFERENCES nodes (id) ON DELETE CASCADE, taskId TEXT NOT NULL,
        targetVersion TEXT NOT NULL, status TEXT NOT NULL, progressPercent REAL NOT NULL, message TEXT,
        updatedAt TEXT NOT NULL
      ) STRICT;
    `,
  },
  {
    name: "002-terminals",
    sql: `
      CREATE TABLE terminals (
        id TEXT PRIMARY KEY, nodeId TEXT NOT NULL REFERENCES nodes (id) ON DELETE CASCADE, status TEXT NOT NULL,
        cols INTEGER NOT NULL, rows INTEGER NOT NULL, runAsRoot INTEGER NOT NULL, exitCode INTEGER, closedReason TEXT,
        createdAt TEXT NOT NULL, openedAt TEXT, closedAt TEXT
      ) STRICT;
      CREATE TABLE terminal_chunks (
        sessionId TEXT NOT NULL REFERENCES terminals (id) ON DELETE CASCADE, seq INTEGER NOT NULL,
        direction TEXT NOT NULL, payload TEXT NOT NULL, total INTEGER NOT NULL, createdAt TEXT NOT NULL,
        PRIMARY KEY (sessionId, seq)
      ) STRICT;
    `,
  },
  {
    name: "003-caravanserai",
    sql: `
      CREATE TABLE cara_nodes (
        name TEXT PRIMARY KEY, labels TEXT, annotations TEXT, hostname TEXT NOT NULL, unschedulable INTEGER NOT NULL,
        state TEXT NOT NULL, network TEXT, capacity TEXT, allocatable TEXT, info TEXT, conditions TEXT NOT NULL,
        lastHeartbeat TEXT, createdAt TEXT NOT NULL, updatedAt TEXT
      ) STRICT;
      CREATE TABLE cara_projects (
        name TEXT PRIMARY KEY, labels TEXT, annotations TEXT, spec TEXT NOT NULL, phase TEXT NOT NULL,
        nodeRef TEXT NOT NULL, conditions TEXT NOT NULL, phaseSince TEXT NOT NULL, strandedSince TEXT,
        createdAt TEXT NOT NULL, updatedAt TEXT
      ) STRICT;
      CREATE INDEX cara_projects_by_node ON cara_projects (nodeRef, phase);
      CREATE TABLE cara_reports (
        id TEXT PRIMARY KEY, project TEXT NOT NULL, phase TEXT NOT NULL, reason TEXT NOT NULL, message TEXT NOT NULL,
        applied INTEGER NOT NULL, at TEXT NOT NULL
      ) STRICT;
      CREATE INDEX cara_reports_by_project ON cara_reports (project);
    `,
  },
  { name: "004-reports-count", sql: "ALTER TABLE cara_reports DROP COLUMN applied" },
];
