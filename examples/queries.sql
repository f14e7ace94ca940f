-- Questions to the ledger, for DuckDB, in the folder that holds usage/:  duckdb < examples/queries.sql

-- Spend by customer.
SELECT customer, currency, sum(cost) AS cost, sum(price) AS price, sum(uncosted_events) AS without_a_rate
FROM read_parquet('usage/rollups/**/*.parquet', hive_partitioning=true)
GROUP BY ALL ORDER BY cost DESC NULLS LAST;

-- Tokens and cost by feature and step.
SELECT customer, feature, step,
       sum(quantity) FILTER (meter = 'llm_requests') AS calls,
       sum(quantity) FILTER (starts_with(meter, 'llm_tokens')) AS tokens,
       sum(cost) AS cost
FROM read_parquet('usage/rollups/**/*.parquet', hive_partitioning=true)
GROUP BY ALL ORDER BY cost DESC NULLS LAST, tokens DESC;

-- The run that cost most, as a tree: agents, and the steps that they took.
WITH events AS (SELECT * FROM read_parquet('usage/events/**/*.parquet', hive_partitioning=true)),
     top AS (SELECT run_id FROM events WHERE run_id IS NOT NULL GROUP BY 1 ORDER BY sum(cost) DESC NULLS LAST, sum(quantity) DESC, run_id LIMIT 1)
SELECT run_id,
       repeat('  ', CASE GROUPING_ID(agent, step) WHEN 0 THEN 2 WHEN 1 THEN 1 ELSE 0 END) || CASE GROUPING_ID(agent, step) WHEN 0 THEN coalesce(step, '(no step)') WHEN 1 THEN coalesce(agent, '(no agent)') ELSE 'run' END AS what,
       sum(quantity) FILTER (meter = 'llm_requests') AS calls,
       sum(quantity) FILTER (starts_with(meter, 'llm_tokens')) AS tokens,
       sum(cost) AS cost
FROM events SEMI JOIN top USING (run_id)
GROUP BY ROLLUP (run_id, agent, step) HAVING run_id IS NOT NULL
ORDER BY run_id, agent NULLS FIRST, step NULLS FIRST;

-- The runs that cost most. Rows of one run add up.
SELECT run_id, any_value(customer) AS customer, any_value(agent) AS agent, min(started_at) AS started_at, max(ended_at) AS ended_at,
       sum(llm_calls) AS calls, sum(tool_calls) AS tools, sum(sub_agents) AS sub_agents, sum(cost) AS cost
FROM read_parquet('usage/runs/**/*.parquet', hive_partitioning=true)
GROUP BY run_id ORDER BY cost DESC NULLS LAST, calls DESC LIMIT 10;

-- A month of one customer, as an invoice has it.
SELECT meter, unit, provider, model, sum(quantity) AS quantity, sum(price) AS price, any_value(price_currency) AS currency
FROM read_parquet('usage/rollups/**/*.parquet', hive_partitioning=true)
WHERE customer = 'acme' AND date >= DATE '2026-11-01' AND date < DATE '2026-12-01'
GROUP BY ALL ORDER BY price DESC NULLS LAST, meter;
