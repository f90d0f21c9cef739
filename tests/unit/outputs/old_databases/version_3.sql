BEGIN TRANSACTION;
CREATE TABLE counter (id INTEGER PRIMARY KEY, last INTEGER NOT NULL);
INSERT INTO "counter" VALUES(1,41);
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
CREATE INDEX tasks_by_state ON tasks (state, completed_at);
CREATE INDEX due_webhooks ON webhooks (state, due);
CREATE TRIGGER forget_webhook AFTER UPDATE OF state ON tasks WHEN NEW.state = 'expired'
        BEGIN DELETE FROM webhooks WHERE task_id = NEW.task_id; END;
CREATE INDEX tasks_by_end ON tasks (completed_at);
CREATE TRIGGER delete_webhook AFTER DELETE ON tasks
        BEGIN DELETE FROM webhooks WHERE task_id = OLD.task_id; END;
COMMIT;
PRAGMA user_version = 3;
