-- A registry as the service left it with the schema 0008: workflows in every status, one with two versions, releases of
-- all kinds, changed settings and a kept answer, one with archives from the web, one that is gone, and registrations that
-- failed. What it answered then is in 0008.json. Frozen: it never changes.
BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0008');
CREATE TABLE audit_event (
	id INTEGER NOT NULL, 
	at TEXT NOT NULL, 
	actor TEXT NOT NULL, 
	address TEXT NOT NULL, 
	request_id TEXT NOT NULL, 
	action TEXT NOT NULL, 
	workflow TEXT NOT NULL, 
	outcome TEXT NOT NULL, 
	detail TEXT NOT NULL, 
	previous_hash TEXT NOT NULL, 
	hash TEXT NOT NULL, 
	scheme INTEGER DEFAULT 1 NOT NULL, 
	CONSTRAINT pk_audit_event PRIMARY KEY (id), 
	CONSTRAINT ck_audit_event_action CHECK (length(action) BETWEEN 1 AND 40 AND action = lower(action)), 
	CONSTRAINT ck_audit_event_outcome CHECK (outcome IN ('succeeded', 'failed')), 
	CONSTRAINT ck_audit_event_hash CHECK (length(previous_hash) = 64 AND length(hash) = 64), 
	CONSTRAINT uq_audit_event_hash UNIQUE (hash), 
	CONSTRAINT uq_audit_event_previous_hash UNIQUE (previous_hash)
)
 STRICT

;
INSERT INTO "audit_event" VALUES(1,'2026-11-27T05:38:38.383504Z','anonymous','127.0.0.1','2b9e785d-b3e0-405d-bcc0-810e363be788','register','sequential','succeeded','{"archive_sha256":"a86d8d23b666807c66a47aa7410d69752dd031a031250a8916f6ddc1fa0ea40b","nodes":{"post_processing":{"kind":"function","sha256":null},"pre_processing":{"kind":"function","sha256":null},"sentiment":{"kind":"model","sha256":"26f772fe9b25d59c794a376d9182b422a5c28d57f4a40a56df1e1f472d7d48ff"}},"url":"sequential.war","version":"1.0"}','0000000000000000000000000000000000000000000000000000000000000000','de68029fa31dc15b1f7ec0aef1101bd9ca59ea4fd7b86e9bbfd489d4f61bcd1e',1);
INSERT INTO "audit_event" VALUES(2,'2026-11-27T05:38:38.833522Z','anonymous','127.0.0.1','f49da37c-65f7-4af0-8a93-bd07d3d9e2c5','register','both','succeeded','{"archive_sha256":"3a6f397b671b63bcfffaab696426b186b3e744d8397c4e8902e51b234e84662f","nodes":{"aggregate":{"kind":"function","sha256":null},"length":{"kind":"model","sha256":"351e09004fc8887c0a3e2af46e7f327f4fa648915a319dfae53a965bd1b035fa"},"pre_processing":{"kind":"function","sha256":null},"sentiment":{"kind":"model","sha256":"26f772fe9b25d59c794a376d9182b422a5c28d57f4a40a56df1e1f472d7d48ff"}},"url":"parallel.war"}','de68029fa31dc15b1f7ec0aef1101bd9ca59ea4fd7b86e9bbfd489d4f61bcd1e','192d1a811df47817a31a6a022fbe62c726f93766aefb789ad79a4cd807fc9e95',1);
INSERT INTO "audit_event" VALUES(3,'2026-11-27T05:38:39.027360Z','anonymous','127.0.0.1','e09e4b30-6377-4075-824b-0aae6f065425','register','Leaves','succeeded','{"archive_sha256":"a86d8d23b666807c66a47aa7410d69752dd031a031250a8916f6ddc1fa0ea40b","nodes":{"post_processing":{"kind":"function","sha256":null},"pre_processing":{"kind":"function","sha256":null},"sentiment":{"kind":"model","sha256":"26f772fe9b25d59c794a376d9182b422a5c28d57f4a40a56df1e1f472d7d48ff"}},"url":"sequential.war"}','192d1a811df47817a31a6a022fbe62c726f93766aefb789ad79a4cd807fc9e95','34e89898d8acce8bacb3abe7b2c7975ab5e9e5fbf0547a5a55f8798a49afb168',1);
INSERT INTO "audit_event" VALUES(4,'2026-11-27T05:38:39.318593Z','anonymous','127.0.0.1','4ffb7d8d-cd42-4598-8828-aefd56ca5e3d','register','remote','succeeded','{"archive_sha256":"3a6f397b671b63bcfffaab696426b186b3e744d8397c4e8902e51b234e84662f","nodes":{"aggregate":{"kind":"function","sha256":null},"length":{"kind":"model","sha256":"351e09004fc8887c0a3e2af46e7f327f4fa648915a319dfae53a965bd1b035fa"},"pre_processing":{"kind":"function","sha256":null},"sentiment":{"kind":"model","sha256":"26f772fe9b25d59c794a376d9182b422a5c28d57f4a40a56df1e1f472d7d48ff"}},"url":"http://127.0.0.1:42461/remote.war"}','34e89898d8acce8bacb3abe7b2c7975ab5e9e5fbf0547a5a55f8798a49afb168','52bc19ea97aeca440f78d042bd3de71c981d5bd8e31c95733e0bfbcecd8bc3db',1);
INSERT INTO "audit_event" VALUES(5,'2026-11-27T05:38:39.557158Z','anonymous','127.0.0.1','e42570cc-739a-400f-a0fa-a1ef01a29763','register-version','sequential','succeeded','{"archive_sha256":"a86d8d23b666807c66a47aa7410d69752dd031a031250a8916f6ddc1fa0ea40b","nodes":{"post_processing":{"kind":"function","sha256":null},"pre_processing":{"kind":"function","sha256":null},"sentiment":{"kind":"model","sha256":"26f772fe9b25d59c794a376d9182b422a5c28d57f4a40a56df1e1f472d7d48ff"}},"url":"sequential.war","version":"2.0"}','52bc19ea97aeca440f78d042bd3de71c981d5bd8e31c95733e0bfbcecd8bc3db','0b632d5c476171fff09c4d51e41d70a0bdc6e1b14bbc5e44767b862f2d22eea9',1);
INSERT INTO "audit_event" VALUES(6,'2026-11-27T05:38:39.586597Z','anonymous','127.0.0.1','e45757b3-d36e-4005-a034-e45446266667','traffic','sequential','succeeded','{"after":{"guard":null,"mirror":null,"paused":false,"routes":[{"version":"2.0","weight":10},{"version":"1.0","weight":90}],"steps":null,"sticky":null},"before":{"guard":null,"mirror":null,"paused":false,"routes":[{"version":"1.0","weight":100}],"steps":null,"sticky":null},"reason":"new tokenizer","release":2}','0b632d5c476171fff09c4d51e41d70a0bdc6e1b14bbc5e44767b862f2d22eea9','1c79fe749cb4b1f3ccd9da1d1b60b31632acdc5a9431ce46f2752129ee4f4bf1',1);
INSERT INTO "audit_event" VALUES(7,'2026-11-27T05:38:39.640396Z','anonymous','127.0.0.1','067e7aa2-2296-406a-828c-b1acfb218fda','update','sequential','succeeded','{"changes":[{"after":4,"before":1,"path":"nodes.sentiment.batchSize"}],"version":"1.0"}','1c79fe749cb4b1f3ccd9da1d1b60b31632acdc5a9431ce46f2752129ee4f4bf1','a0048bc46b21ead3c61bdf5911f91f98889ffaa105e31fba5091284262bc4525',1);
INSERT INTO "audit_event" VALUES(8,'2026-11-27T05:38:39.665289Z','anonymous','127.0.0.1','25d44a02-678c-41f5-8430-0a1587f949fe','scale','both','succeeded','{"changes":[{"after":3,"before":4,"path":"nodes.sentiment.maxWorkers"},{"after":3,"before":4,"path":"nodes.length.maxWorkers"}],"version":"1.0"}','a0048bc46b21ead3c61bdf5911f91f98889ffaa105e31fba5091284262bc4525','300244e44e17e626657b57698ad85b0f5e2cbbac6df37491a71f2924b2ff0f1c',1);
INSERT INTO "audit_event" VALUES(9,'2026-11-27T05:38:39.750604Z','anonymous','127.0.0.1','da885005-311a-4b74-984e-48ef492c90ea','traffic','sequential','succeeded','{"after":{"guard":null,"mirror":{"percent":5,"version":"2.0"},"paused":false,"routes":[{"version":"1.0","weight":100}],"steps":null,"sticky":null},"before":{"guard":null,"mirror":null,"paused":false,"routes":[{"version":"2.0","weight":10},{"version":"1.0","weight":90}],"steps":null,"sticky":null},"release":3}','300244e44e17e626657b57698ad85b0f5e2cbbac6df37491a71f2924b2ff0f1c','11fc57cab9ae307389809ddfc95681658a7302b78195fa1004782d8775bec2af',1);
INSERT INTO "audit_event" VALUES(10,'2026-11-27T05:38:39.919562Z','anonymous','127.0.0.1','a89991b2-81aa-4ee3-b3a3-ff5de8ea9684','rollback','sequential','succeeded','{"after":{"guard":null,"mirror":null,"paused":false,"routes":[{"version":"2.0","weight":10},{"version":"1.0","weight":90}],"steps":null,"sticky":null},"before":{"guard":null,"mirror":{"percent":5,"version":"2.0"},"paused":false,"routes":[{"version":"1.0","weight":100}],"steps":null,"sticky":null},"release":4}','11fc57cab9ae307389809ddfc95681658a7302b78195fa1004782d8775bec2af','a6eb315012ac913863338a645c9b8cedcbadf446d828c20667ea1b41f3d817c0',1);
INSERT INTO "audit_event" VALUES(11,'2026-11-27T05:38:39.998404Z','anonymous','127.0.0.1','74ed87cf-e678-46bd-9c77-e9448e127f16','register','sequential','failed','{"archive_sha256":"a86d8d23b666807c66a47aa7410d69752dd031a031250a8916f6ddc1fa0ea40b","error":{"message":"Workflow sequential is already registered.","type":"WorkflowExists"},"url":"sequential.war"}','a6eb315012ac913863338a645c9b8cedcbadf446d828c20667ea1b41f3d817c0','841e3098c2071ac799b16d2eead015b7526e301a296c4f712d732e5decb2463a',1);
INSERT INTO "audit_event" VALUES(12,'2026-11-27T05:38:40.064194Z','anonymous','127.0.0.1','b686cce1-0988-436c-a0b9-c0bf17b15580','register','','failed','{"error":{"message":"Workflow not found in workflow store: nosuch.war","type":"ArchiveNotFound"}}','841e3098c2071ac799b16d2eead015b7526e301a296c4f712d732e5decb2463a','1ea52844b294b6207a89389579f34cd728103cb717edfb5e0593a302134d4be1',1);
INSERT INTO "audit_event" VALUES(13,'2026-11-27T05:38:40.180332Z','anonymous','127.0.0.1','d1b5fadd-fdcf-41ec-8c12-5ef5fd0e0a71','register','gone','succeeded','{"archive_sha256":"a86d8d23b666807c66a47aa7410d69752dd031a031250a8916f6ddc1fa0ea40b","nodes":{"post_processing":{"kind":"function","sha256":null},"pre_processing":{"kind":"function","sha256":null},"sentiment":{"kind":"model","sha256":"26f772fe9b25d59c794a376d9182b422a5c28d57f4a40a56df1e1f472d7d48ff"}},"url":"sequential.war"}','1ea52844b294b6207a89389579f34cd728103cb717edfb5e0593a302134d4be1','4ffeb22103792a4f1dc5f1c811f02f89338bbcf62405262e9021b8181204ce6e',1);
INSERT INTO "audit_event" VALUES(14,'2026-11-27T05:38:40.245267Z','anonymous','127.0.0.1','ae34c5f2-43cf-45a2-92a6-5bea4719b0a8','unregister','gone','succeeded','{"archive_sha256":"a86d8d23b666807c66a47aa7410d69752dd031a031250a8916f6ddc1fa0ea40b","version":"1.0"}','4ffeb22103792a4f1dc5f1c811f02f89338bbcf62405262e9021b8181204ce6e','ca24fd615ab7433e9a031be4b33d419ee0ec7dc26132047014616ae04b6c0a16',1);
INSERT INTO "audit_event" VALUES(15,'2026-11-27T05:38:40.427142Z','anonymous','127.0.0.1','e9019f63-7981-4235-ac10-89c2093473b8','register','going','succeeded','{"archive_sha256":"a86d8d23b666807c66a47aa7410d69752dd031a031250a8916f6ddc1fa0ea40b","nodes":{"post_processing":{"kind":"function","sha256":null},"pre_processing":{"kind":"function","sha256":null},"sentiment":{"kind":"model","sha256":"26f772fe9b25d59c794a376d9182b422a5c28d57f4a40a56df1e1f472d7d48ff"}},"url":"sequential.war"}','ca24fd615ab7433e9a031be4b33d419ee0ec7dc26132047014616ae04b6c0a16','90f9650839dca89f5de56fccd483a2dc74f721f2f74639308a62a834142ed02b',1);
CREATE TABLE change_counter (
	id INTEGER NOT NULL, 
	last INTEGER NOT NULL, 
	CONSTRAINT pk_change_counter PRIMARY KEY (id), 
	CONSTRAINT ck_change_counter_only_row CHECK (id = 1)
)
 STRICT

;
INSERT INTO "change_counter" VALUES(1,23);
CREATE TABLE edge (
	id INTEGER NOT NULL, 
	version_id INTEGER NOT NULL, 
	source_id INTEGER NOT NULL, 
	target_id INTEGER NOT NULL, 
	position INTEGER NOT NULL, 
	CONSTRAINT pk_edge PRIMARY KEY (id), 
	CONSTRAINT ck_edge_self_loop CHECK (source_id <> target_id), 
	CONSTRAINT fk_edge_source_id_node FOREIGN KEY(source_id) REFERENCES node (id) ON DELETE CASCADE, 
	CONSTRAINT fk_edge_target_id_node FOREIGN KEY(target_id) REFERENCES node (id) ON DELETE CASCADE, 
	CONSTRAINT fk_edge_version_id_workflow_version FOREIGN KEY(version_id) REFERENCES workflow_version (id) ON DELETE CASCADE, 
	CONSTRAINT uq_edge_source_id_target_id UNIQUE (source_id, target_id), 
	CONSTRAINT uq_edge_version_id_position UNIQUE (version_id, position)
)
 STRICT

;
INSERT INTO "edge" VALUES(1,1,1,2,0);
INSERT INTO "edge" VALUES(2,1,2,3,1);
INSERT INTO "edge" VALUES(3,2,4,5,0);
INSERT INTO "edge" VALUES(4,2,4,6,1);
INSERT INTO "edge" VALUES(5,2,5,7,2);
INSERT INTO "edge" VALUES(6,2,6,7,3);
INSERT INTO "edge" VALUES(7,3,8,9,0);
INSERT INTO "edge" VALUES(8,3,9,10,1);
INSERT INTO "edge" VALUES(9,4,11,12,0);
INSERT INTO "edge" VALUES(10,4,11,13,1);
INSERT INTO "edge" VALUES(11,4,12,14,2);
INSERT INTO "edge" VALUES(12,4,13,14,3);
INSERT INTO "edge" VALUES(13,5,15,16,0);
INSERT INTO "edge" VALUES(14,5,16,17,1);
INSERT INTO "edge" VALUES(15,6,18,19,0);
INSERT INTO "edge" VALUES(16,6,19,20,1);
INSERT INTO "edge" VALUES(17,7,21,22,0);
INSERT INTO "edge" VALUES(18,7,22,23,1);
CREATE TABLE heartbeat (
	id INTEGER NOT NULL, 
	holder TEXT NOT NULL, 
	seen_at TEXT NOT NULL, 
	CONSTRAINT pk_heartbeat PRIMARY KEY (id), 
	CONSTRAINT ck_heartbeat_only_row CHECK (id = 1)
)
 STRICT

;
CREATE TABLE idempotency_key (
	scope TEXT NOT NULL, 
	"key" TEXT NOT NULL, 
	request_sha256 TEXT NOT NULL, 
	lease TEXT, 
	status INTEGER, 
	headers TEXT, 
	body TEXT, 
	at TEXT NOT NULL, 
	CONSTRAINT pk_idempotency_key PRIMARY KEY (scope, "key"), 
	CONSTRAINT ck_idempotency_key_request_sha256 CHECK (length(request_sha256) = 64), 
	CONSTRAINT ck_idempotency_key_lease CHECK ((status IS NULL) = (lease IS NOT NULL))
)
 STRICT

;
INSERT INTO "idempotency_key" VALUES('anonymous POST /workflows/sequential/rollback','k1','99a4caaeab2ad8d11ed902fdccc5b550cf63114cf7a38984c53980dec12dfa09',NULL,200,'{"ETag": "\"6\""}','{
  "status": "Release 4 is in force for workflow \"sequential\"",
  "release": {
    "number": 4,
    "at": "2026-11-27T05:38:39.919562Z",
    "actor": "anonymous",
    "reason": "",
    "previous": 1,
    "kind": "rollback",
    "routes": [
      {
        "version": "2.0",
        "weight": 10
      },
      {
        "version": "1.0",
        "weight": 90
      }
    ],
    "mirror": null,
    "sticky": null,
    "guard": null,
    "steps": null,
    "paused": false
  }
}
','2026-11-27T05:38:39.980983Z');
CREATE TABLE installation (
	id INTEGER NOT NULL, 
	identity TEXT NOT NULL, 
	created_at TEXT NOT NULL, 
	CONSTRAINT pk_installation PRIMARY KEY (id), 
	CONSTRAINT ck_installation_only_row CHECK (id = 1)
)
 STRICT

;
INSERT INTO "installation" VALUES(1,'331b226c08c8','2026-11-27T05:38:29.119845Z');
CREATE TABLE node (
	id INTEGER NOT NULL, 
	version_id INTEGER NOT NULL, 
	position INTEGER NOT NULL, 
	name TEXT NOT NULL, 
	kind TEXT NOT NULL, 
	model_url TEXT, 
	model_file TEXT, 
	model_downloaded INTEGER NOT NULL, 
	model_sha256 TEXT, 
	min_workers INTEGER NOT NULL, 
	max_workers INTEGER NOT NULL, 
	batch_size INTEGER NOT NULL, 
	max_batch_delay_ms INTEGER NOT NULL, 
	retry_attempts INTEGER NOT NULL, 
	timeout_ms INTEGER NOT NULL, 
	CONSTRAINT pk_node PRIMARY KEY (id), 
	CONSTRAINT ck_node_workers CHECK (min_workers >= 0 AND max_workers >= 1 AND max_workers >= min_workers), 
	CONSTRAINT ck_node_batch CHECK (batch_size >= 1 AND max_batch_delay_ms >= 0), 
	CONSTRAINT ck_node_tries CHECK (retry_attempts >= 0 AND timeout_ms >= 1), 
	CONSTRAINT ck_node_kind CHECK (kind IN ('model', 'function')), 
	CONSTRAINT ck_node_model_downloaded CHECK (model_downloaded IN (0, 1)), 
	CONSTRAINT ck_node_model CHECK ((kind = 'model') = (model_url IS NOT NULL AND model_file IS NOT NULL AND model_sha256 IS NOT NULL)), 
	CONSTRAINT fk_node_version_id_workflow_version FOREIGN KEY(version_id) REFERENCES workflow_version (id) ON DELETE CASCADE, 
	CONSTRAINT uq_node_version_id_name UNIQUE (version_id, name), 
	CONSTRAINT uq_node_version_id_position UNIQUE (version_id, position)
)
 STRICT

;
INSERT INTO "node" VALUES(1,1,0,'pre_processing','function',NULL,NULL,0,NULL,1,1,1,0,1,5000);
INSERT INTO "node" VALUES(2,1,1,'sentiment','model','sentiment.mar','sentiment.mar',0,'26f772fe9b25d59c794a376d9182b422a5c28d57f4a40a56df1e1f472d7d48ff',1,2,1,50,1,5000);
INSERT INTO "node" VALUES(3,1,2,'post_processing','function',NULL,NULL,0,NULL,1,1,1,0,1,5000);
INSERT INTO "node" VALUES(4,2,0,'pre_processing','function',NULL,NULL,0,NULL,1,1,1,0,1,10000);
INSERT INTO "node" VALUES(5,2,1,'sentiment','model','sentiment.mar','sentiment.mar',0,'26f772fe9b25d59c794a376d9182b422a5c28d57f4a40a56df1e1f472d7d48ff',2,4,4,20,1,10000);
INSERT INTO "node" VALUES(6,2,2,'length','model','length.mar','length.mar',0,'351e09004fc8887c0a3e2af46e7f327f4fa648915a319dfae53a965bd1b035fa',1,4,4,20,1,10000);
INSERT INTO "node" VALUES(7,2,3,'aggregate','function',NULL,NULL,0,NULL,1,1,1,0,1,10000);
INSERT INTO "node" VALUES(8,3,0,'pre_processing','function',NULL,NULL,0,NULL,1,1,1,0,1,5000);
INSERT INTO "node" VALUES(9,3,1,'sentiment','model','sentiment.mar','sentiment.mar',0,'26f772fe9b25d59c794a376d9182b422a5c28d57f4a40a56df1e1f472d7d48ff',1,2,1,50,1,5000);
INSERT INTO "node" VALUES(10,3,2,'post_processing','function',NULL,NULL,0,NULL,1,1,1,0,1,5000);
INSERT INTO "node" VALUES(11,4,0,'pre_processing','function',NULL,NULL,0,NULL,1,1,1,0,1,10000);
INSERT INTO "node" VALUES(12,4,1,'sentiment','model','sentiment.mar','sentiment.mar',0,'26f772fe9b25d59c794a376d9182b422a5c28d57f4a40a56df1e1f472d7d48ff',2,4,4,20,1,10000);
INSERT INTO "node" VALUES(13,4,2,'length','model','length.mar','length.mar',0,'351e09004fc8887c0a3e2af46e7f327f4fa648915a319dfae53a965bd1b035fa',1,4,4,20,1,10000);
INSERT INTO "node" VALUES(14,4,3,'aggregate','function',NULL,NULL,0,NULL,1,1,1,0,1,10000);
INSERT INTO "node" VALUES(15,5,0,'pre_processing','function',NULL,NULL,0,NULL,1,1,1,0,1,5000);
INSERT INTO "node" VALUES(16,5,1,'sentiment','model','sentiment.mar','sentiment.mar',0,'26f772fe9b25d59c794a376d9182b422a5c28d57f4a40a56df1e1f472d7d48ff',1,2,1,50,1,5000);
INSERT INTO "node" VALUES(17,5,2,'post_processing','function',NULL,NULL,0,NULL,1,1,1,0,1,5000);
INSERT INTO "node" VALUES(18,6,0,'pre_processing','function',NULL,NULL,0,NULL,1,1,1,0,1,5000);
INSERT INTO "node" VALUES(19,6,1,'sentiment','model','sentiment.mar','sentiment.mar',0,'26f772fe9b25d59c794a376d9182b422a5c28d57f4a40a56df1e1f472d7d48ff',1,2,1,50,1,5000);
INSERT INTO "node" VALUES(20,6,2,'post_processing','function',NULL,NULL,0,NULL,1,1,1,0,1,5000);
INSERT INTO "node" VALUES(21,7,0,'pre','function',NULL,NULL,0,NULL,1,1,1,50,1,10000);
INSERT INTO "node" VALUES(22,7,1,'m1','model','m1.mar','m1.mar',0,'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa',1,1,1,50,1,10000);
INSERT INTO "node" VALUES(23,7,2,'post','function',NULL,NULL,0,NULL,1,1,1,50,1,10000);
CREATE TABLE node_override (
	node_id INTEGER NOT NULL, 
	setting TEXT NOT NULL, 
	value INTEGER NOT NULL, 
	at TEXT NOT NULL, 
	actor TEXT NOT NULL, 
	CONSTRAINT pk_node_override PRIMARY KEY (node_id, setting), 
	CONSTRAINT ck_node_override_setting CHECK (setting IN ('min_workers', 'max_workers', 'batch_size', 'max_batch_delay_ms', 'retry_attempts', 'timeout_ms')), 
	CONSTRAINT fk_node_override_node_id_node FOREIGN KEY(node_id) REFERENCES node (id) ON DELETE CASCADE
)
 STRICT

;
INSERT INTO "node_override" VALUES(2,'batch_size',4,'2026-11-27T05:38:39.640396Z','anonymous');
INSERT INTO "node_override" VALUES(5,'max_workers',3,'2026-11-27T05:38:39.665289Z','anonymous');
INSERT INTO "node_override" VALUES(6,'max_workers',3,'2026-11-27T05:38:39.665289Z','anonymous');
CREATE TABLE release (
	id INTEGER NOT NULL, 
	workflow_uid TEXT NOT NULL, 
	workflow TEXT NOT NULL, 
	number INTEGER NOT NULL, 
	at TEXT NOT NULL, 
	actor TEXT NOT NULL, 
	reason TEXT NOT NULL, 
	kind TEXT NOT NULL, 
	previous INTEGER, 
	policy TEXT NOT NULL, 
	CONSTRAINT pk_release PRIMARY KEY (id), 
	CONSTRAINT ck_release_number CHECK (number >= 1 AND previous < number), 
	CONSTRAINT ck_release_kind CHECK (length(kind) BETWEEN 1 AND 40 AND kind = lower(kind)), 
	CONSTRAINT uq_release_workflow_uid_number UNIQUE (workflow_uid, number)
)
 STRICT

;
INSERT INTO "release" VALUES(1,'886d85e2900941b1b73ae7dc06eb290f','sequential',1,'2026-11-27T05:38:38.383504Z','anonymous','','register',NULL,'{}');
INSERT INTO "release" VALUES(2,'8c2a96c0922b4690b7f3262e66470764','both',1,'2026-11-27T05:38:38.833522Z','anonymous','','register',NULL,'{}');
INSERT INTO "release" VALUES(3,'60a6e02d8234465697a8b7c687106060','Leaves',1,'2026-11-27T05:38:39.027360Z','anonymous','','register',NULL,'{}');
INSERT INTO "release" VALUES(4,'3e795f7a257840169584d14af8fd9cfe','remote',1,'2026-11-27T05:38:39.318593Z','anonymous','','register',NULL,'{}');
INSERT INTO "release" VALUES(5,'886d85e2900941b1b73ae7dc06eb290f','sequential',2,'2026-11-27T05:38:39.586597Z','anonymous','new tokenizer','traffic',1,'{}');
INSERT INTO "release" VALUES(6,'886d85e2900941b1b73ae7dc06eb290f','sequential',3,'2026-11-27T05:38:39.750604Z','anonymous','','traffic',2,'{}');
INSERT INTO "release" VALUES(7,'886d85e2900941b1b73ae7dc06eb290f','sequential',4,'2026-11-27T05:38:39.919562Z','anonymous','','rollback',1,'{}');
INSERT INTO "release" VALUES(8,'d3c023e4c63a4e7f95cbe93bd9633f55','gone',1,'2026-11-27T05:38:40.180332Z','anonymous','','register',NULL,'{}');
INSERT INTO "release" VALUES(9,'d3c023e4c63a4e7f95cbe93bd9633f55','gone',2,'2026-11-27T05:38:40.245267Z','anonymous','','unregister',1,'{}');
INSERT INTO "release" VALUES(10,'f92cabf96ce14eb58cea591e984bf758','going',1,'2026-11-27T05:38:40.427142Z','anonymous','','register',NULL,'{}');
CREATE TABLE release_route (
	id INTEGER NOT NULL, 
	release_id INTEGER NOT NULL, 
	version_uid TEXT NOT NULL, 
	version TEXT NOT NULL, 
	kind TEXT NOT NULL, 
	weight INTEGER NOT NULL, 
	CONSTRAINT pk_release_route PRIMARY KEY (id), 
	CONSTRAINT ck_release_route_kind CHECK (kind IN ('serve', 'mirror')), 
	CONSTRAINT ck_release_route_weight CHECK (weight BETWEEN 1 AND 100), 
	CONSTRAINT fk_release_route_release_id_release FOREIGN KEY(release_id) REFERENCES release (id), 
	CONSTRAINT uq_release_route_release_id_kind_version UNIQUE (release_id, kind, version)
)
 STRICT

;
INSERT INTO "release_route" VALUES(1,1,'886d85e2900941b1b73ae7dc06eb290f','1.0','serve',100);
INSERT INTO "release_route" VALUES(2,2,'8c2a96c0922b4690b7f3262e66470764','1.0','serve',100);
INSERT INTO "release_route" VALUES(3,3,'60a6e02d8234465697a8b7c687106060','1.0','serve',100);
INSERT INTO "release_route" VALUES(4,4,'3e795f7a257840169584d14af8fd9cfe','1.0','serve',100);
INSERT INTO "release_route" VALUES(5,5,'f7900feff8784d97be79071aa8e1d033','2.0','serve',10);
INSERT INTO "release_route" VALUES(6,5,'886d85e2900941b1b73ae7dc06eb290f','1.0','serve',90);
INSERT INTO "release_route" VALUES(7,6,'886d85e2900941b1b73ae7dc06eb290f','1.0','serve',100);
INSERT INTO "release_route" VALUES(8,6,'f7900feff8784d97be79071aa8e1d033','2.0','mirror',5);
INSERT INTO "release_route" VALUES(9,7,'f7900feff8784d97be79071aa8e1d033','2.0','serve',10);
INSERT INTO "release_route" VALUES(10,7,'886d85e2900941b1b73ae7dc06eb290f','1.0','serve',90);
INSERT INTO "release_route" VALUES(11,8,'d3c023e4c63a4e7f95cbe93bd9633f55','1.0','serve',100);
INSERT INTO "release_route" VALUES(12,10,'f92cabf96ce14eb58cea591e984bf758','1.0','serve',100);
CREATE TABLE removal (
	change INTEGER NOT NULL, 
	uid TEXT NOT NULL, 
	CONSTRAINT pk_removal PRIMARY KEY (change)
)
 STRICT

;
INSERT INTO "removal" VALUES(19,'d3c023e4c63a4e7f95cbe93bd9633f55');
CREATE TABLE workflow (
	id INTEGER NOT NULL, 
	uid TEXT NOT NULL, 
	name TEXT NOT NULL, 
	revision INTEGER NOT NULL, 
	change INTEGER NOT NULL, 
	release_id INTEGER, 
	default_version_id INTEGER, 
	created_at TEXT NOT NULL, 
	updated_at TEXT NOT NULL, 
	CONSTRAINT pk_workflow PRIMARY KEY (id), 
	CONSTRAINT fk_workflow_default_version_id_workflow_version FOREIGN KEY(default_version_id) REFERENCES workflow_version (id), 
	CONSTRAINT ck_workflow_revision CHECK (revision >= 0), 
	CONSTRAINT fk_workflow_release_id_release FOREIGN KEY(release_id) REFERENCES release (id), 
	CONSTRAINT uq_workflow_name UNIQUE (name), 
	CONSTRAINT uq_workflow_uid UNIQUE (uid)
)
 STRICT

;
INSERT INTO "workflow" VALUES(1,'886d85e2900941b1b73ae7dc06eb290f','sequential',6,15,7,1,'2026-11-27T05:38:37.795685Z','2026-11-27T05:38:39.919562Z');
INSERT INTO "workflow" VALUES(2,'8c2a96c0922b4690b7f3262e66470764','both',2,13,2,2,'2026-11-27T05:38:38.661725Z','2026-11-27T05:38:39.665289Z');
INSERT INTO "workflow" VALUES(3,'60a6e02d8234465697a8b7c687106060','Leaves',1,6,3,3,'2026-11-27T05:38:38.892581Z','2026-11-27T05:38:39.027360Z');
INSERT INTO "workflow" VALUES(4,'3e795f7a257840169584d14af8fd9cfe','remote',1,8,4,4,'2026-11-27T05:38:39.094238Z','2026-11-27T05:38:39.318593Z');
INSERT INTO "workflow" VALUES(5,'f92cabf96ce14eb58cea591e984bf758','going',2,22,10,NULL,'2026-11-27T05:38:40.306085Z','2026-11-27T05:38:47.016006Z');
INSERT INTO "workflow" VALUES(6,'e56447b52be74f41b146b399ccecea13','half',0,23,NULL,NULL,'2026-11-27T05:38:47.016006Z','2026-11-27T05:38:47.016006Z');
CREATE TABLE workflow_version (
	id INTEGER NOT NULL, 
	uid TEXT NOT NULL, 
	url TEXT NOT NULL, 
	archive_file TEXT NOT NULL, 
	archive_downloaded INTEGER NOT NULL, 
	archive_sha256 TEXT NOT NULL, 
	handler TEXT, 
	spec TEXT NOT NULL, 
	dag TEXT NOT NULL, 
	status TEXT NOT NULL, 
	lease TEXT, 
	min_workers INTEGER NOT NULL, 
	max_workers INTEGER NOT NULL, 
	batch_size INTEGER NOT NULL, 
	max_batch_delay_ms INTEGER NOT NULL, 
	retry_attempts INTEGER NOT NULL, 
	timeout_ms INTEGER NOT NULL, 
	response_timeout_s INTEGER NOT NULL, 
	startup_timeout_s INTEGER NOT NULL, 
	created_at TEXT NOT NULL, 
	registered_at TEXT, 
	updated_at TEXT NOT NULL, 
	workflow_id INTEGER NOT NULL, 
	version TEXT NOT NULL, 
	CONSTRAINT pk_workflow_version PRIMARY KEY (id), 
	CONSTRAINT ck_workflow_version_version CHECK (length(version) BETWEEN 1 AND 64), 
	CONSTRAINT fk_workflow_version_workflow_id_workflow FOREIGN KEY(workflow_id) REFERENCES workflow (id) ON DELETE CASCADE, 
	CONSTRAINT uq_workflow_version_workflow_id_version UNIQUE (workflow_id, version), 
	CONSTRAINT ck_workflow_version_workers CHECK (min_workers >= 0 AND max_workers >= 1 AND max_workers >= min_workers), 
	CONSTRAINT ck_workflow_version_batch CHECK (batch_size >= 1 AND max_batch_delay_ms >= 0), 
	CONSTRAINT ck_workflow_version_tries CHECK (retry_attempts >= 0 AND timeout_ms >= 1), 
	CONSTRAINT ck_workflow_version_status CHECK (status IN ('registering', 'ready', 'unregistering')), 
	CONSTRAINT ck_workflow_version_archive_downloaded CHECK (archive_downloaded IN (0, 1)), 
	CONSTRAINT ck_workflow_version_archive_sha256 CHECK (length(archive_sha256) = 64), 
	CONSTRAINT ck_workflow_version_lease CHECK ((status = 'ready') = (lease IS NULL)), 
	CONSTRAINT ck_workflow_version_timeouts CHECK (response_timeout_s >= 1 AND startup_timeout_s >= 1), 
	CONSTRAINT uq_workflow_version_uid UNIQUE (uid)
)
 STRICT

;
INSERT INTO "workflow_version" VALUES(1,'886d85e2900941b1b73ae7dc06eb290f','sequential.war','sequential.war',0,'a86d8d23b666807c66a47aa7410d69752dd031a031250a8916f6ddc1fa0ea40b','workflow_handler.py','models:
  # Global settings: they hold for every model that does not set its own.
  min-workers: 1
  max-workers: 2
  batch-size: 1
  max-batch-delay: 50
  retry-attempts: 1
  timeout-ms: 5000

  sentiment:
    url: sentiment.mar

dag:
  pre_processing: [sentiment]
  sentiment: [post_processing]
','{pre_processing=[sentiment], sentiment=[post_processing]}','ready',NULL,1,2,1,50,1,5000,120,120,'2026-11-27T05:38:37.795685Z','2026-11-27T05:38:38.383504Z','2026-11-27T05:38:38.383504Z',1,'1.0');
INSERT INTO "workflow_version" VALUES(2,'8c2a96c0922b4690b7f3262e66470764','parallel.war','parallel.war',0,'3a6f397b671b63bcfffaab696426b186b3e744d8397c4e8902e51b234e84662f','workflow_handler.py','models:
  min-workers: 1
  max-workers: 4
  batch-size: 4
  max-batch-delay: 20

  sentiment:
    url: sentiment.mar
    min-workers: 2
  length:
    url: length.mar

dag:
  pre_processing: [sentiment, length]
  sentiment: [aggregate]
  length: [aggregate]
','{pre_processing=[sentiment, length], sentiment=[aggregate], length=[aggregate]}','ready',NULL,1,4,4,20,1,10000,120,120,'2026-11-27T05:38:38.661725Z','2026-11-27T05:38:38.833522Z','2026-11-27T05:38:38.833522Z',2,'1.0');
INSERT INTO "workflow_version" VALUES(3,'60a6e02d8234465697a8b7c687106060','sequential.war','sequential.war',0,'a86d8d23b666807c66a47aa7410d69752dd031a031250a8916f6ddc1fa0ea40b','workflow_handler.py','models:
  # Global settings: they hold for every model that does not set its own.
  min-workers: 1
  max-workers: 2
  batch-size: 1
  max-batch-delay: 50
  retry-attempts: 1
  timeout-ms: 5000

  sentiment:
    url: sentiment.mar

dag:
  pre_processing: [sentiment]
  sentiment: [post_processing]
','{pre_processing=[sentiment], sentiment=[post_processing]}','ready',NULL,1,2,1,50,1,5000,120,120,'2026-11-27T05:38:38.892581Z','2026-11-27T05:38:39.027360Z','2026-11-27T05:38:39.027360Z',3,'1.0');
INSERT INTO "workflow_version" VALUES(4,'3e795f7a257840169584d14af8fd9cfe','http://127.0.0.1:42461/remote.war','remote.war',1,'3a6f397b671b63bcfffaab696426b186b3e744d8397c4e8902e51b234e84662f','workflow_handler.py','models:
  min-workers: 1
  max-workers: 4
  batch-size: 4
  max-batch-delay: 20

  sentiment:
    url: sentiment.mar
    min-workers: 2
  length:
    url: length.mar

dag:
  pre_processing: [sentiment, length]
  sentiment: [aggregate]
  length: [aggregate]
','{pre_processing=[sentiment, length], sentiment=[aggregate], length=[aggregate]}','ready',NULL,1,4,4,20,1,10000,120,120,'2026-11-27T05:38:39.094238Z','2026-11-27T05:38:39.318593Z','2026-11-27T05:38:39.318593Z',4,'1.0');
INSERT INTO "workflow_version" VALUES(5,'f7900feff8784d97be79071aa8e1d033','sequential.war','sequential.war',0,'a86d8d23b666807c66a47aa7410d69752dd031a031250a8916f6ddc1fa0ea40b','workflow_handler.py','models:
  # Global settings: they hold for every model that does not set its own.
  min-workers: 1
  max-workers: 2
  batch-size: 1
  max-batch-delay: 50
  retry-attempts: 1
  timeout-ms: 5000

  sentiment:
    url: sentiment.mar

dag:
  pre_processing: [sentiment]
  sentiment: [post_processing]
','{pre_processing=[sentiment], sentiment=[post_processing]}','ready',NULL,1,2,1,50,1,5000,120,120,'2026-11-27T05:38:39.428072Z','2026-11-27T05:38:39.557158Z','2026-11-27T05:38:39.557158Z',1,'2.0');
INSERT INTO "workflow_version" VALUES(6,'f92cabf96ce14eb58cea591e984bf758','sequential.war','sequential.war',0,'a86d8d23b666807c66a47aa7410d69752dd031a031250a8916f6ddc1fa0ea40b','workflow_handler.py','models:
  # Global settings: they hold for every model that does not set its own.
  min-workers: 1
  max-workers: 2
  batch-size: 1
  max-batch-delay: 50
  retry-attempts: 1
  timeout-ms: 5000

  sentiment:
    url: sentiment.mar

dag:
  pre_processing: [sentiment]
  sentiment: [post_processing]
','{pre_processing=[sentiment], sentiment=[post_processing]}','unregistering','0123456789abcdef0123456789abcdef',1,2,1,50,1,5000,120,120,'2026-11-27T05:38:40.306085Z','2026-11-27T05:38:40.427142Z','2026-11-27T05:38:47.016006Z',5,'1.0');
INSERT INTO "workflow_version" VALUES(7,'e56447b52be74f41b146b399ccecea13','half.war','half.war',0,'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa','handler.py','dag: {}
','{pre=[m1], m1=[post]}','registering','fedcba9876543210fedcba9876543210',1,1,1,50,1,10000,120,120,'2026-11-27T05:38:47.016006Z',NULL,'2026-11-27T05:38:47.016006Z',6,'1.0');
CREATE INDEX ix_release_workflow ON release (workflow);
CREATE INDEX ix_workflow_name_default_version_id ON workflow (name, default_version_id);
CREATE INDEX ix_workflow_change ON workflow (change);
CREATE INDEX ix_workflow_version_status ON workflow_version (status);
CREATE INDEX ix_workflow_version_archive_file ON workflow_version (archive_file);
CREATE INDEX ix_edge_target_id ON edge (target_id);
CREATE INDEX ix_idempotency_key_at ON idempotency_key (at);
CREATE INDEX ix_audit_event_request_id ON audit_event (request_id);
CREATE INDEX ix_audit_event_workflow ON audit_event (workflow);
CREATE TRIGGER audit_event_refuses_update BEFORE update ON audit_event
BEGIN SELECT RAISE(ABORT, 'audit_event is append-only'); END;
CREATE TRIGGER audit_event_refuses_delete BEFORE delete ON audit_event
BEGIN SELECT RAISE(ABORT, 'audit_event is append-only'); END;
CREATE TRIGGER audit_event_refuses_replace BEFORE INSERT ON audit_event
WHEN EXISTS (SELECT 1 FROM audit_event WHERE id >= NEW.id OR hash = NEW.hash OR previous_hash = NEW.previous_hash)
BEGIN SELECT RAISE(ABORT, 'audit_event is append-only'); END;
CREATE VIEW v_audit AS SELECT id, at, actor, address, request_id, action, workflow, outcome, detail, hash FROM audit_event;
CREATE TRIGGER release_refuses_update BEFORE update ON release
BEGIN SELECT RAISE(ABORT, 'release is append-only'); END;
CREATE TRIGGER release_refuses_delete BEFORE delete ON release
BEGIN SELECT RAISE(ABORT, 'release is append-only'); END;
CREATE TRIGGER release_refuses_replace BEFORE INSERT ON release
WHEN EXISTS (SELECT 1 FROM release WHERE id = NEW.id OR (workflow_uid = NEW.workflow_uid AND number >= NEW.number))
BEGIN SELECT RAISE(ABORT, 'release is append-only'); END;
CREATE TRIGGER release_route_refuses_update BEFORE update ON release_route
BEGIN SELECT RAISE(ABORT, 'release_route is append-only'); END;
CREATE TRIGGER release_route_refuses_delete BEFORE delete ON release_route
BEGIN SELECT RAISE(ABORT, 'release_route is append-only'); END;
CREATE TRIGGER release_route_refuses_replace BEFORE INSERT ON release_route
WHEN NEW.release_id < (SELECT max(id) FROM release) OR EXISTS (SELECT 1 FROM release_route WHERE id = NEW.id OR (release_id = NEW.release_id AND kind = NEW.kind AND version = NEW.version))
BEGIN SELECT RAISE(ABORT, 'release_route is append-only'); END;
CREATE VIEW v_workflow AS
SELECT
    workflow.name,
    workflow_version.status,
    workflow_version.url,
    workflow_version.archive_sha256,
    workflow_version.dag,
    (SELECT count(*) FROM node WHERE node.version_id = workflow_version.id AND node.kind = 'model') AS models,
    (SELECT count(*) FROM node WHERE node.version_id = workflow_version.id AND node.kind = 'function') AS functions,
    (SELECT sum(node.min_workers) FROM node WHERE node.version_id = workflow_version.id AND node.kind = 'model')
        AS min_model_workers,
    (SELECT sum(node.max_workers) FROM node WHERE node.version_id = workflow_version.id AND node.kind = 'model')
        AS max_model_workers,
    workflow_version.response_timeout_s,
    workflow_version.startup_timeout_s,
    workflow_version.created_at,
    workflow_version.registered_at,
    workflow_version.updated_at
FROM workflow

JOIN workflow_version ON workflow_version.id = coalesce(
    workflow.default_version_id,
    (SELECT max(newest.id) FROM workflow_version AS newest WHERE newest.workflow_id = workflow.id)
);
CREATE VIEW v_version AS
SELECT
    workflow.name AS workflow,
    workflow_version.version,
    CASE WHEN workflow.default_version_id = workflow_version.id THEN 1 ELSE 0 END AS is_default,
    workflow_version.status,
    workflow_version.url,
    workflow_version.archive_sha256,
    workflow_version.dag,
    workflow_version.created_at,
    workflow_version.registered_at
FROM workflow_version JOIN workflow ON workflow.id = workflow_version.workflow_id;
CREATE VIEW v_release AS
SELECT
    release.workflow,
    release.number,
    release.at,
    release.actor,
    release.kind,
    release.reason,
    release.previous,
    (SELECT group_concat(release_route.version || '=' || release_route.weight, ' ') FROM release_route
        WHERE release_route.release_id = release.id AND release_route.kind = 'serve') AS routes,
    (SELECT release_route.version || '=' || release_route.weight FROM release_route
        WHERE release_route.release_id = release.id AND release_route.kind = 'mirror') AS mirror,
    release.policy,
    CASE WHEN EXISTS (SELECT 1 FROM workflow WHERE workflow.release_id = release.id) THEN 1 ELSE 0 END AS is_current,
    release.workflow_uid
FROM release;
CREATE VIEW v_serving_history AS
SELECT
    release.workflow,
    release_route.version,
    release_route.weight,
    release.at AS from_at,
    (SELECT next.at FROM release AS next
        WHERE next.workflow_uid = release.workflow_uid AND next.number = release.number + 1) AS to_at,
    release.actor,
    release.reason,
    release_route.kind,
    release.number AS release
FROM release_route JOIN release ON release.id = release_route.release_id;
COMMIT;
