-- Prefect's own database beside Ranvier's; its migrations want trigram indexes
CREATE DATABASE prefect OWNER ranvier;
\connect prefect
CREATE EXTENSION IF NOT EXISTS pg_trgm;
