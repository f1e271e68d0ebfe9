-- The agent's database (state.db), after all migrations. Rendered by `npm run format`; do not edit.

-- control/outbox.ts: calls that the control plane has not answered yet, in order within a queue (`lane`: a task)
CREATE TABLE outbox (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  lane TEXT NOT NULL,
  kind TEXT NOT NULL,
  body TEXT NOT NULL,
  attempts INTEGER NOT NULL DEFAULT 0,
  doubtful INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX outbox_lane ON outbox (lane, id);

-- tasks/journal.ts: every task that was claimed, with its phase; the last ones also after their end
CREATE TABLE tasks (
  id TEXT PRIMARY KEY,
  type TEXT NOT NULL,
  phase TEXT NOT NULL,
  claimed_at INTEGER NOT NULL,
  launch TEXT,
  stop TEXT,
  shipped TEXT NOT NULL,
  outcome TEXT,
  finished_at INTEGER,
  claimed TEXT,
  started TEXT,
  announced TEXT,
  command TEXT
) STRICT;
CREATE INDEX tasks_phase ON tasks (phase);

-- identity/root-access.ts: the root profile that the control plane wants, and when it was applied
CREATE TABLE root_access (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  desired TEXT NOT NULL,
  desired_at TEXT,
  applied_at TEXT NOT NULL
) STRICT;

-- terminal/session-store.ts: terminals whose end the control plane has not acknowledged
CREATE TABLE terminals (
  id TEXT PRIMARY KEY,
  started_at INTEGER NOT NULL,
  boot_id TEXT NOT NULL,
  pid INTEGER,
  start_time TEXT,
  ended_at INTEGER,
  exit_code INTEGER,
  reason TEXT
) STRICT;

-- projects/node/assignment.ts: the last list of projects from the Caravanserai server, one row
CREATE TABLE assignment (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  version INTEGER NOT NULL,
  server TEXT NOT NULL,
  node TEXT NOT NULL,
  items TEXT NOT NULL
) STRICT;

-- projects/node/assigned-names.ts: names of projects that a server ever assigned to this node
CREATE TABLE assigned_name (
  id INTEGER PRIMARY KEY,
  server TEXT NOT NULL,
  name TEXT NOT NULL,
  memory TEXT,
  UNIQUE (server, name)
) STRICT;

-- projects/reconcile/pull-memory.ts: images that could not be pulled, with the time of the next try
CREATE TABLE pull_failure (
  image TEXT PRIMARY KEY,
  message TEXT NOT NULL,
  attempts INTEGER NOT NULL,
  retry_at INTEGER NOT NULL,
  lasting INTEGER NOT NULL
) STRICT;

-- projects/reconcile/ended-jobs.ts: containers whose job is done, which Docker forgets on a restart
CREATE TABLE ended_job (
  container TEXT PRIMARY KEY,
  finished_at TEXT NOT NULL
) STRICT;

-- projects/node/drain.ts: one row while the node is being drained
CREATE TABLE node_drain (
  since TEXT NOT NULL
) STRICT;

-- projects/node/continuity.ts: since when the server remembers this node; it changes after a loss
CREATE TABLE server_memory (
  server TEXT NOT NULL,
  node TEXT NOT NULL,
  registered TEXT,
  losses INTEGER NOT NULL,
  PRIMARY KEY (server, node)
) STRICT;

-- tasks/journal.ts: until when a claim of an earlier process may still be answered (a Moment)
CREATE TABLE open_claim (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  until TEXT NOT NULL
) STRICT;

-- projects/reconcile/records.ts: Docker objects that this node created, by Docker's id
CREATE TABLE made (
  kind TEXT NOT NULL,
  id TEXT NOT NULL,
  PRIMARY KEY (kind, id)
) STRICT;

-- projects/reconcile/records.ts: Docker objects whose creation was requested and not confirmed
CREATE TABLE making (
  kind TEXT NOT NULL,
  name TEXT NOT NULL,
  fingerprint TEXT NOT NULL,
  PRIMARY KEY (kind, name)
) STRICT;

-- identity/location/report.ts: control planes that refuse `agent.auth` with a location
CREATE TABLE location_refused (
  api_url TEXT PRIMARY KEY
) STRICT;

-- tasks/journal.ts: the payloads of unfinished tasks, as JSON
CREATE TABLE payloads (
  id TEXT PRIMARY KEY,
  payload TEXT NOT NULL
) STRICT;
