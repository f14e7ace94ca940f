// node chdb.mjs: reads queries from the standard input, one a line, and writes a JSON array of results, each as tab-separated text.
import { query } from 'chdb';
import { readFileSync } from 'node:fs';

const queries = readFileSync(0, 'utf8').split('\n').filter(Boolean);
process.stdout.write(JSON.stringify(queries.map((q) => String(query(q, 'TSV')))));
