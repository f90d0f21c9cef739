BEGIN TRANSACTION;
CREATE TABLE counter (id INTEGER PRIMARY KEY, last INTEGER NOT NULL);
INSERT INTO "counter" VALUES(1,41);
INSERT INTO "counter" VALUES(2,5);
CREATE TABLE gallery (
            number INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, credential TEXT NOT NULL,
            created_at REAL NOT NULL, favourite INTEGER NOT NULL DEFAULT 0, deleted_at REAL, bytes INTEGER NOT NULL,
            width INTEGER NOT NULL, height INTEGER NOT NULL, model TEXT NOT NULL, inputs TEXT NOT NULL,
            settings TEXT NOT NULL, searched TEXT NOT NULL
        );
INSERT INTO "gallery" VALUES(3,'a.png','k',4000000000.0,1,NULL,1000,64,64,'demo','[]','{"prompt":"A red circle"}','a red circle');
CREATE TABLE tasks (
            task_id TEXT PRIMARY KEY, number INTEGER NOT NULL, credential TEXT NOT NULL, wanted TEXT NOT NULL,
            state TEXT NOT NULL, attempts INTEGER NOT NULL, created_at REAL NOT NULL, completed_at REAL,
            processing_time REAL, files TEXT NOT NULL, seeds TEXT NOT NULL, error TEXT, code TEXT,
            warnings TEXT NOT NULL
        , owner TEXT);
INSERT INTO "tasks" VALUES('done',39,'k','','completed',1,4000000000.0,4000000000.0,2.5,'["a.png"]','[7]',NULL,NULL,'[]',NULL);
INSERT INTO "tasks" VALUES('running',40,'k','{"prompt":"a red circle"}','processing',1,4000000000.0,NULL,NULL,'[]','[]',NULL,NULL,'["a warning"]','0123456789abcdef0123456789abcdef');
INSERT INTO "tasks" VALUES('waiting',41,'k','{"prompt":"a blue square"}','queued',1,4000000000.0,NULL,NULL,'[]','[]',NULL,NULL,'[]','0123456789abcdef0123456789abcdef');
CREATE TABLE usage (
            account TEXT NOT NULL, period TEXT NOT NULL, until INTEGER NOT NULL, seconds REAL NOT NULL,
            PRIMARY KEY (account, period)
        );
INSERT INTO "usage" VALUES('k','day',4000000000,12.5);
CREATE TABLE webhooks (
            task_id TEXT PRIMARY KEY, url TEXT NOT NULL, site TEXT NOT NULL, state TEXT NOT NULL,
            attempts INTEGER NOT NULL, due REAL NOT NULL, error TEXT
        );
INSERT INTO "webhooks" VALUES('waiting','https://receiver.example/hook','http://localhost:5000/','waiting',0,0.0,NULL);
CREATE TABLE webhook_traces (task_id TEXT PRIMARY KEY, trace_id TEXT NOT NULL);
INSERT INTO "webhook_traces" VALUES('waiting','0123456789abcdef0123456789abcdef');
CREATE INDEX tasks_by_state ON tasks (state, completed_at);
CREATE INDEX due_webhooks ON webhooks (state, due);
CREATE TRIGGER forget_webhook AFTER UPDATE OF state ON tasks WHEN NEW.state = 'expired'
        BEGIN DELETE FROM webhooks WHERE task_id = NEW.task_id; END;
CREATE INDEX tasks_by_end ON tasks (completed_at);
CREATE TRIGGER delete_webhook AFTER DELETE ON tasks
        BEGIN DELETE FROM webhooks WHERE task_id = OLD.task_id; END;
CREATE TRIGGER forget_trace AFTER DELETE ON webhooks
        BEGIN DELETE FROM webhook_traces WHERE task_id = OLD.task_id; END;
CREATE INDEX gallery_by_credential ON gallery (credential, number);
CREATE INDEX gallery_favourites ON gallery (number) WHERE favourite = 1;
CREATE INDEX gallery_by_deletion ON gallery (deleted_at, favourite, credential);
CREATE INDEX gallery_sizes ON gallery (bytes);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('gallery',3);
COMMIT;
PRAGMA user_version = 6;
