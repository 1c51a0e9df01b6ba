-- A registry as the service left it with the schema 0007: workflows in every status, one with archives from the web,
-- one that is gone, and registrations that failed. What it answered then is in 0007.json. Frozen: it never changes.
BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL,
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0007');
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
	CONSTRAINT pk_audit_event PRIMARY KEY (id),
	CONSTRAINT ck_audit_event_action CHECK (action IN ('register', 'unregister', 'reconcile')),
	CONSTRAINT ck_audit_event_outcome CHECK (outcome IN ('succeeded', 'failed')),
	CONSTRAINT ck_audit_event_hash CHECK (length(previous_hash) = 64 AND length(hash) = 64),
	CONSTRAINT uq_audit_event_hash UNIQUE (hash),
	CONSTRAINT uq_audit_event_previous_hash UNIQUE (previous_hash)
)
 STRICT;
INSERT INTO "audit_event" VALUES(1,'2026-11-27T03:04:45.718048Z','anonymous','127.0.0.1','9dd74127-0b58-46e3-b962-52125b733ffa','register','sequential','succeeded','{"archive_sha256":"97a8776060b17c9380d2331a16cf4512b2a2853251d4fe021843efaba446ccf2","nodes":{"post_processing":{"kind":"function","sha256":null},"pre_processing":{"kind":"function","sha256":null},"sentiment":{"kind":"model","sha256":"c7586577d11206ccd3d6306834ddb03789f5322108ca8a8270b794efed701288"}},"url":"sequential.war"}','0000000000000000000000000000000000000000000000000000000000000000','13b8dba4394e71db512ffe2b14ddbcb18bcb83fef0cd1174a0947edd7462cb86');
INSERT INTO "audit_event" VALUES(2,'2026-11-27T03:04:45.790582Z','anonymous','127.0.0.1','a8b566f5-1c57-4982-96bc-6eabc0e84e7f','register','both','succeeded','{"archive_sha256":"54b791c492c6e61fd17ef91c164108b767dd8cc77247d408d702d9b8cddc6548","nodes":{"aggregate":{"kind":"function","sha256":null},"length":{"kind":"model","sha256":"e9af47b3163f5eb8825fdd8259accd0cac4a5d2703d7aa412632b39ac70c9dae"},"pre_processing":{"kind":"function","sha256":null},"sentiment":{"kind":"model","sha256":"c7586577d11206ccd3d6306834ddb03789f5322108ca8a8270b794efed701288"}},"url":"parallel.war"}','13b8dba4394e71db512ffe2b14ddbcb18bcb83fef0cd1174a0947edd7462cb86','b7f9baa145cd9f0b913adfc9015b76d79ba4bd3e0e37a7d5a414820e69fbed11');
INSERT INTO "audit_event" VALUES(3,'2026-11-27T03:04:45.829900Z','anonymous','127.0.0.1','8f0412b1-741a-42d0-8788-da1d358b58aa','register','remote','succeeded','{"archive_sha256":"1a0bd0ea0ad57c31ec92d4f0b55b1686756461a1437a7ece3e378c41a1a56790","nodes":{"far":{"kind":"model","sha256":"70e79d5b77dbe2056738f773fdfcfe2b076d5ea419fa09e29b9e50283031e3e3"},"post_processing":{"kind":"function","sha256":null},"pre_processing":{"kind":"function","sha256":null}},"url":"http://127.0.0.1:38757/remote.war"}','b7f9baa145cd9f0b913adfc9015b76d79ba4bd3e0e37a7d5a414820e69fbed11','19c7310a88300477e1f651cb242e5f51ae8469a6177a7ca1481ad0150e04a83e');
INSERT INTO "audit_event" VALUES(4,'2026-11-27T03:04:45.875441Z','anonymous','127.0.0.1','b5a9543a-90e7-43a7-a312-50ad6a8815c9','register','Leaves','succeeded','{"archive_sha256":"5b03fd54ece9ac27e32091993c36d064fa166f2bfb21034dc4c4dc3498fd008e","nodes":{"length":{"kind":"model","sha256":"e9af47b3163f5eb8825fdd8259accd0cac4a5d2703d7aa412632b39ac70c9dae"},"pre_processing":{"kind":"function","sha256":null},"sentiment":{"kind":"model","sha256":"c7586577d11206ccd3d6306834ddb03789f5322108ca8a8270b794efed701288"}},"url":"leaves.war"}','19c7310a88300477e1f651cb242e5f51ae8469a6177a7ca1481ad0150e04a83e','7763015b44a006d992e6ae4cf0899df1dc83640f6c39338e59d792d9c2991d83');
INSERT INTO "audit_event" VALUES(5,'2026-11-27T03:04:45.882910Z','anonymous','127.0.0.1','ef152175-fca4-4124-909f-68c1382331c2','register','sequential','failed','{"archive_sha256":"97a8776060b17c9380d2331a16cf4512b2a2853251d4fe021843efaba446ccf2","error":{"message":"Workflow sequential is already registered.","type":"WorkflowExists"},"url":"sequential.war"}','7763015b44a006d992e6ae4cf0899df1dc83640f6c39338e59d792d9c2991d83','70a46018a9cef68bea058ed859a92192a185f12accf2112c3a1f38b553980b0b');
INSERT INTO "audit_event" VALUES(6,'2026-11-27T03:04:45.886676Z','anonymous','127.0.0.1','3546eb55-9670-45ae-a662-21092b2f3293','register','','failed','{"error":{"message":"Workflow not found in workflow store: nosuch.war","type":"ArchiveNotFound"}}','70a46018a9cef68bea058ed859a92192a185f12accf2112c3a1f38b553980b0b','9b09744f7d77360e9e1ee5ecd591e3a87f8dec7597aa0962bb0b35458dc47671');
INSERT INTO "audit_event" VALUES(7,'2026-11-27T03:04:45.925451Z','anonymous','127.0.0.1','fd5743ac-d33c-4e76-96a1-6a085e0adb09','register','broken','failed','{"archive_sha256":"6c94ab7c313c2ad3279a8331c725cd85fcad6d41f064c595fc588d4bd0509d03","error":{"message":"Workflow broken has failed to register. Failures: [Workflow Node broken__b failed to register. Details: ValueError: broken on purpose]","type":"NodesFailedToLoad"},"nodes":{"b":{"kind":"model","sha256":"d24469caba42bb99c2a11df35a53f499096b801021c67473d858e41a1b442ecc"}},"url":"broken.war"}','9b09744f7d77360e9e1ee5ecd591e3a87f8dec7597aa0962bb0b35458dc47671','caeecd7671a1fd4dcaca5688155bd0de61d2e8133e67520ba044e2344881d62e');
INSERT INTO "audit_event" VALUES(8,'2026-11-27T03:04:45.970468Z','anonymous','127.0.0.1','a902a4ac-c85a-4639-afb4-e999a2877a50','register','gone','succeeded','{"archive_sha256":"97a8776060b17c9380d2331a16cf4512b2a2853251d4fe021843efaba446ccf2","nodes":{"post_processing":{"kind":"function","sha256":null},"pre_processing":{"kind":"function","sha256":null},"sentiment":{"kind":"model","sha256":"c7586577d11206ccd3d6306834ddb03789f5322108ca8a8270b794efed701288"}},"url":"sequential.war"}','caeecd7671a1fd4dcaca5688155bd0de61d2e8133e67520ba044e2344881d62e','972efb21233652adaf50474603f642dfe89469e8359f934e64529cf0e619d064');
INSERT INTO "audit_event" VALUES(9,'2026-11-27T03:04:45.984436Z','anonymous','127.0.0.1','4e753e8d-ee0f-4149-a893-68e606f79b31','unregister','gone','succeeded','{"archive_sha256":"97a8776060b17c9380d2331a16cf4512b2a2853251d4fe021843efaba446ccf2"}','972efb21233652adaf50474603f642dfe89469e8359f934e64529cf0e619d064','76a9f128f1e2e1dfb4cdfddfee6baae8ac1fbb3dc9dc55b3d9183738ce79ee66');
INSERT INTO "audit_event" VALUES(10,'2026-11-27T03:04:46.015495Z','anonymous','127.0.0.1','46acc081-9e61-419b-9c01-9500a98a6144','register','going','succeeded','{"archive_sha256":"97a8776060b17c9380d2331a16cf4512b2a2853251d4fe021843efaba446ccf2","nodes":{"post_processing":{"kind":"function","sha256":null},"pre_processing":{"kind":"function","sha256":null},"sentiment":{"kind":"model","sha256":"c7586577d11206ccd3d6306834ddb03789f5322108ca8a8270b794efed701288"}},"url":"sequential.war"}','76a9f128f1e2e1dfb4cdfddfee6baae8ac1fbb3dc9dc55b3d9183738ce79ee66','8e62badedae7c6d85225179f6d17fe71c9a523d201364316a2d5f14aa0c4c73d');
CREATE TABLE edge (
	id INTEGER NOT NULL,
	workflow_id INTEGER NOT NULL,
	source_id INTEGER NOT NULL,
	target_id INTEGER NOT NULL,
	position INTEGER NOT NULL,
	CONSTRAINT pk_edge PRIMARY KEY (id),
	CONSTRAINT ck_edge_self_loop CHECK (source_id <> target_id),
	CONSTRAINT fk_edge_source_id_node FOREIGN KEY(source_id) REFERENCES node (id) ON DELETE CASCADE,
	CONSTRAINT fk_edge_target_id_node FOREIGN KEY(target_id) REFERENCES node (id) ON DELETE CASCADE,
	CONSTRAINT fk_edge_workflow_id_workflow FOREIGN KEY(workflow_id) REFERENCES workflow (id) ON DELETE CASCADE,
	CONSTRAINT uq_edge_source_id_target_id UNIQUE (source_id, target_id),
	CONSTRAINT uq_edge_workflow_id_position UNIQUE (workflow_id, position)
)
 STRICT;
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
INSERT INTO "edge" VALUES(11,5,14,15,0);
INSERT INTO "edge" VALUES(12,5,15,16,1);
INSERT INTO "edge" VALUES(13,6,17,18,0);
INSERT INTO "edge" VALUES(14,6,18,19,1);
CREATE TABLE heartbeat (
	id INTEGER NOT NULL,
	holder TEXT NOT NULL,
	seen_at TEXT NOT NULL,
	CONSTRAINT pk_heartbeat PRIMARY KEY (id),
	CONSTRAINT ck_heartbeat_only_row CHECK (id = 1)
)
 STRICT;
CREATE TABLE installation (
	id INTEGER NOT NULL,
	identity TEXT NOT NULL,
	created_at TEXT NOT NULL,
	CONSTRAINT pk_installation PRIMARY KEY (id),
	CONSTRAINT ck_installation_only_row CHECK (id = 1)
)
 STRICT;
INSERT INTO "installation" VALUES(1,'2b8e3c597017','2026-11-27T03:04:43.719714Z');
CREATE TABLE node (
	id INTEGER NOT NULL,
	workflow_id INTEGER NOT NULL,
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
	CONSTRAINT ck_node_model CHECK ((kind = 'model') = (model_url IS NOT NULL AND model_file IS NOT NULL AND model_sha256 IS NOT NULL)),
	CONSTRAINT ck_node_kind CHECK (kind IN ('model', 'function')),
	CONSTRAINT ck_node_batch CHECK (batch_size >= 1 AND max_batch_delay_ms >= 0),
	CONSTRAINT ck_node_workers CHECK (min_workers >= 0 AND max_workers >= 1 AND max_workers >= min_workers),
	CONSTRAINT ck_node_model_downloaded CHECK (model_downloaded IN (0, 1)),
	CONSTRAINT ck_node_tries CHECK (retry_attempts >= 0 AND timeout_ms >= 1),
	CONSTRAINT fk_node_workflow_id_workflow FOREIGN KEY(workflow_id) REFERENCES workflow (id) ON DELETE CASCADE,
	CONSTRAINT uq_node_workflow_id_name UNIQUE (workflow_id, name),
	CONSTRAINT uq_node_workflow_id_position UNIQUE (workflow_id, position)
)
 STRICT;
INSERT INTO "node" VALUES(1,1,0,'pre_processing','function',NULL,NULL,0,NULL,1,1,1,0,1,5000);
INSERT INTO "node" VALUES(2,1,1,'sentiment','model','sentiment.mar','sentiment.mar',0,'c7586577d11206ccd3d6306834ddb03789f5322108ca8a8270b794efed701288',1,2,1,50,1,5000);
INSERT INTO "node" VALUES(3,1,2,'post_processing','function',NULL,NULL,0,NULL,1,1,1,0,1,5000);
INSERT INTO "node" VALUES(4,2,0,'pre_processing','function',NULL,NULL,0,NULL,1,1,1,0,1,10000);
INSERT INTO "node" VALUES(5,2,1,'sentiment','model','sentiment.mar','sentiment.mar',0,'c7586577d11206ccd3d6306834ddb03789f5322108ca8a8270b794efed701288',2,4,4,20,1,10000);
INSERT INTO "node" VALUES(6,2,2,'length','model','length.mar','length.mar',0,'e9af47b3163f5eb8825fdd8259accd0cac4a5d2703d7aa412632b39ac70c9dae',1,4,4,20,1,10000);
INSERT INTO "node" VALUES(7,2,3,'aggregate','function',NULL,NULL,0,NULL,1,1,1,0,1,10000);
INSERT INTO "node" VALUES(8,3,0,'pre_processing','function',NULL,NULL,0,NULL,1,1,1,0,1,10000);
INSERT INTO "node" VALUES(9,3,1,'far','model','http://127.0.0.1:38757/far.mar','far.mar',1,'70e79d5b77dbe2056738f773fdfcfe2b076d5ea419fa09e29b9e50283031e3e3',0,3,4,50,1,10000);
INSERT INTO "node" VALUES(10,3,2,'post_processing','function',NULL,NULL,0,NULL,1,1,1,0,1,10000);
INSERT INTO "node" VALUES(11,4,0,'pre_processing','function',NULL,NULL,0,NULL,1,1,1,0,1,10000);
INSERT INTO "node" VALUES(12,4,1,'sentiment','model','sentiment.mar','sentiment.mar',0,'c7586577d11206ccd3d6306834ddb03789f5322108ca8a8270b794efed701288',1,1,1,50,1,10000);
INSERT INTO "node" VALUES(13,4,2,'length','model','length.mar','length.mar',0,'e9af47b3163f5eb8825fdd8259accd0cac4a5d2703d7aa412632b39ac70c9dae',1,1,1,50,1,10000);
INSERT INTO "node" VALUES(14,5,0,'pre_processing','function',NULL,NULL,0,NULL,1,1,1,0,1,5000);
INSERT INTO "node" VALUES(15,5,1,'sentiment','model','sentiment.mar','sentiment.mar',0,'c7586577d11206ccd3d6306834ddb03789f5322108ca8a8270b794efed701288',1,2,1,50,1,5000);
INSERT INTO "node" VALUES(16,5,2,'post_processing','function',NULL,NULL,0,NULL,1,1,1,0,1,5000);
INSERT INTO "node" VALUES(17,6,0,'pre','function',NULL,NULL,0,NULL,1,1,1,50,1,10000);
INSERT INTO "node" VALUES(18,6,1,'m1','model','m1.mar','m1.mar',0,'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa',1,1,1,50,1,10000);
INSERT INTO "node" VALUES(19,6,2,'post','function',NULL,NULL,0,NULL,1,1,1,50,1,10000);
CREATE TABLE removal (
	revision INTEGER NOT NULL,
	uid TEXT NOT NULL,
	CONSTRAINT pk_removal PRIMARY KEY (revision)
)
 STRICT;
INSERT INTO "removal" VALUES(10,'6a6e5ee78a464e13a6148b6912e0624f');
INSERT INTO "removal" VALUES(14,'7798b4714d3c42b5a65454a99120d56e');
CREATE TABLE revision_counter (
	id INTEGER NOT NULL,
	last INTEGER NOT NULL,
	CONSTRAINT pk_revision_counter PRIMARY KEY (id),
	CONSTRAINT ck_revision_counter_only_row CHECK (id = 1)
)
 STRICT;
INSERT INTO "revision_counter" VALUES(1,18);
CREATE TABLE workflow (
	id INTEGER NOT NULL,
	uid TEXT NOT NULL,
	name TEXT NOT NULL,
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
	updated_at TEXT NOT NULL, revision INTEGER DEFAULT 0 NOT NULL,
	CONSTRAINT pk_workflow PRIMARY KEY (id),
	CONSTRAINT ck_workflow_lease CHECK ((status = 'ready') = (lease IS NULL)),
	CONSTRAINT ck_workflow_status CHECK (status IN ('registering', 'ready', 'unregistering')),
	CONSTRAINT ck_workflow_archive_downloaded CHECK (archive_downloaded IN (0, 1)),
	CONSTRAINT ck_workflow_batch CHECK (batch_size >= 1 AND max_batch_delay_ms >= 0),
	CONSTRAINT ck_workflow_archive_sha256 CHECK (length(archive_sha256) = 64),
	CONSTRAINT ck_workflow_workers CHECK (min_workers >= 0 AND max_workers >= 1 AND max_workers >= min_workers),
	CONSTRAINT ck_workflow_timeouts CHECK (response_timeout_s >= 1 AND startup_timeout_s >= 1),
	CONSTRAINT ck_workflow_tries CHECK (retry_attempts >= 0 AND timeout_ms >= 1),
	CONSTRAINT uq_workflow_name UNIQUE (name),
	CONSTRAINT uq_workflow_uid UNIQUE (uid)
)
 STRICT;
INSERT INTO "workflow" VALUES(1,'4bf2154af99c4493bc560a54f24f7a9a','sequential','sequential.war','sequential.war',0,'97a8776060b17c9380d2331a16cf4512b2a2853251d4fe021843efaba446ccf2','workflow_handler.py','models:
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
','{pre_processing=[sentiment], sentiment=[post_processing]}','ready',NULL,1,2,1,50,1,5000,120,120,'2026-11-27T03:04:45.523808Z','2026-11-27T03:04:45.718048Z','2026-11-27T03:04:45.718048Z',2);
INSERT INTO "workflow" VALUES(2,'2dad97c4d56d4be09f78e838ef4ff07a','both','parallel.war','parallel.war',0,'54b791c492c6e61fd17ef91c164108b767dd8cc77247d408d702d9b8cddc6548','workflow_handler.py','models:
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
','{pre_processing=[sentiment, length], sentiment=[aggregate], length=[aggregate]}','ready',NULL,1,4,4,20,1,10000,30,60,'2026-11-27T03:04:45.741738Z','2026-11-27T03:04:45.790582Z','2026-11-27T03:04:45.790582Z',4);
INSERT INTO "workflow" VALUES(3,'4ad996a25e4948ce8a1fb57f7ddfaae0','remote','http://127.0.0.1:38757/remote.war','remote.war',1,'1a0bd0ea0ad57c31ec92d4f0b55b1686756461a1437a7ece3e378c41a1a56790','handler.py','models: {far: {url: ''http://127.0.0.1:38757/far.mar'', min-workers: 0, max-workers: 3, batch-size: 4}}
dag: {pre_processing: [far], far: [post_processing]}
','{pre_processing=[far], far=[post_processing]}','ready',NULL,1,1,1,50,1,10000,120,120,'2026-11-27T03:04:45.816171Z','2026-11-27T03:04:45.829900Z','2026-11-27T03:04:45.829900Z',6);
INSERT INTO "workflow" VALUES(4,'cdcd2fb1b61d4b488b671a43aeae7cf1','Leaves','leaves.war','leaves.war',0,'5b03fd54ece9ac27e32091993c36d064fa166f2bfb21034dc4c4dc3498fd008e','workflow_handler.py','models:
  min-workers: 1
  max-workers: 1

  sentiment:
    url: sentiment.mar
  length:
    url: length.mar

# Two leaves: the answer is one JSON object with an entry for each.
dag:
  pre_processing: [sentiment, length]
','{pre_processing=[sentiment, length]}','ready',NULL,1,1,1,50,1,10000,120,120,'2026-11-27T03:04:45.839310Z','2026-11-27T03:04:45.875441Z','2026-11-27T03:04:45.875441Z',8);
INSERT INTO "workflow" VALUES(5,'6240d6b58b93481296847da20e760d83','going','sequential.war','sequential.war',0,'97a8776060b17c9380d2331a16cf4512b2a2853251d4fe021843efaba446ccf2','workflow_handler.py','models:
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
','{pre_processing=[sentiment], sentiment=[post_processing]}','unregistering','a-lease',1,2,1,50,1,5000,120,120,'2026-11-27T03:04:45.993924Z','2026-11-27T03:04:46.015495Z','2026-11-27T03:04:47.319543Z',18);
INSERT INTO "workflow" VALUES(6,'8ebfc94e3c034a0ba6d7300a624f6e10','half','half.war','half.war',0,'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa','handler.py','dag: {}
','{pre=[m1], m1=[post]}','registering','lease',1,1,1,50,1,10000,120,120,'2026-11-27T03:04:47.319543Z',NULL,'2026-11-27T03:04:47.319543Z',17);
CREATE INDEX ix_workflow_status_name_url ON workflow (status, name, url);
CREATE INDEX ix_edge_target_id ON edge (target_id);
CREATE VIEW v_workflow AS
SELECT
    workflow.name,
    workflow.status,
    workflow.url,
    workflow.archive_sha256,
    workflow.dag,
    (SELECT count(*) FROM node WHERE node.workflow_id = workflow.id AND node.kind = 'model') AS models,
    (SELECT count(*) FROM node WHERE node.workflow_id = workflow.id AND node.kind = 'function') AS functions,
    (SELECT sum(node.min_workers) FROM node WHERE node.workflow_id = workflow.id AND node.kind = 'model')
        AS min_model_workers,
    (SELECT sum(node.max_workers) FROM node WHERE node.workflow_id = workflow.id AND node.kind = 'model')
        AS max_model_workers,
    workflow.response_timeout_s,
    workflow.startup_timeout_s,
    workflow.created_at,
    workflow.registered_at,
    workflow.updated_at
FROM workflow;
CREATE INDEX ix_audit_event_request_id ON audit_event (request_id);
CREATE INDEX ix_audit_event_workflow ON audit_event (workflow);
CREATE TRIGGER audit_event_refuses_update BEFORE update ON audit_event
BEGIN SELECT RAISE(ABORT, 'audit_event is append-only'); END;
CREATE TRIGGER audit_event_refuses_delete BEFORE delete ON audit_event
BEGIN SELECT RAISE(ABORT, 'audit_event is append-only'); END;
CREATE TRIGGER audit_event_refuses_replace BEFORE INSERT ON audit_event
WHEN EXISTS (
    SELECT 1 FROM audit_event
    WHERE id >= NEW.id OR hash = NEW.hash OR previous_hash = NEW.previous_hash
)
BEGIN SELECT RAISE(ABORT, 'audit_event is append-only'); END;
CREATE VIEW v_audit AS
SELECT id, at, actor, address, request_id, action, workflow, outcome, detail, hash
FROM audit_event;
CREATE INDEX ix_workflow_revision ON workflow (revision);
COMMIT;
