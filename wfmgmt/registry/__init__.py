"""The registry in SQL: tables, engine, queries and the audit trail; all SQL is here."""
