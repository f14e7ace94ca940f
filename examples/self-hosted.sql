-- What a token of our own model costs: GPU cost over tokens, by hour and model, for DuckDB in the folder that holds usage/.
-- GPU jobs post gpu_seconds with the model that they serve; the model's calls are metered from spans.
WITH hourly AS (
  SELECT hour_start, model,
         sum(cost) FILTER (meter = 'gpu_seconds') AS gpu_cost,
         sum(quantity) FILTER (meter = 'gpu_seconds') / 3600 AS gpu_hours,
         sum(quantity) FILTER (starts_with(meter, 'llm_tokens')) AS tokens
  FROM read_parquet('usage/rollups/**/*.parquet', hive_partitioning=true)
  GROUP BY ALL
)
SELECT hour_start, model, gpu_hours, gpu_cost, tokens, gpu_cost / nullif(tokens, 0) * 1e6 AS cost_per_million_tokens
FROM hourly WHERE gpu_cost IS NOT NULL
ORDER BY hour_start, model;
