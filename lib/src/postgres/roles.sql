-- Roles with least rights for a shared history and a queue: who owns the tables, who records and runs, who
-- reads.
--
-- Run it once as a superuser, connected to the database of the history or of the queue:
--
--     psql --set ON_ERROR_STOP=1 --file roles.sql team
--
-- then let people and machines be members of these roles, or log in as such members:
--
--     CREATE ROLE ann LOGIN IN ROLE rpt_reader;
--     CREATE ROLE ci LOGIN PASSWORD '...' IN ROLE rpt_recorder;
--     CREATE ROLE keeper LOGIN PASSWORD '...' IN ROLE rpt_owner;
--     ALTER ROLE keeper SET role = rpt_owner;
--
-- and as `keeper` make the tables, now and after each newer rpt: rpt-history migrate

CREATE ROLE rpt_owner NOLOGIN;
CREATE ROLE rpt_recorder NOLOGIN;
CREATE ROLE rpt_reader NOLOGIN;

-- Nobody else sees anything, and nobody makes tables beside these.
CREATE SCHEMA rpt AUTHORIZATION rpt_owner;
REVOKE ALL ON SCHEMA rpt FROM PUBLIC;
GRANT USAGE ON SCHEMA rpt TO rpt_recorder, rpt_reader;

-- Tables are made by the owner: these rights come with each.
ALTER DEFAULT PRIVILEGES FOR ROLE rpt_owner IN SCHEMA rpt
    GRANT SELECT ON TABLES TO rpt_reader, rpt_recorder;
-- A recorder takes out a run that turns out to be there already, and never the tables themselves.
ALTER DEFAULT PRIVILEGES FOR ROLE rpt_owner IN SCHEMA rpt
    GRANT INSERT, UPDATE, DELETE ON TABLES TO rpt_recorder;
ALTER DEFAULT PRIVILEGES FOR ROLE rpt_owner IN SCHEMA rpt
    GRANT USAGE ON SEQUENCES TO rpt_recorder;

-- The queue: a machine joins, leases and gives verdicts. It takes nothing out, and what it reads of others
-- are numbers, ids and records, never code.
CREATE SCHEMA rpt_queue AUTHORIZATION rpt_owner;
REVOKE ALL ON SCHEMA rpt_queue FROM PUBLIC;
GRANT USAGE ON SCHEMA rpt_queue TO rpt_recorder, rpt_reader;
ALTER DEFAULT PRIVILEGES FOR ROLE rpt_owner IN SCHEMA rpt_queue
    GRANT SELECT ON TABLES TO rpt_reader, rpt_recorder;
ALTER DEFAULT PRIVILEGES FOR ROLE rpt_owner IN SCHEMA rpt_queue
    GRANT INSERT, UPDATE ON TABLES TO rpt_recorder;
ALTER DEFAULT PRIVILEGES FOR ROLE rpt_owner IN SCHEMA rpt_queue
    GRANT USAGE ON SEQUENCES TO rpt_recorder;
