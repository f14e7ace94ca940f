// node chdb.mjs: answers each query, a line of the standard input, with a line: {"rows": the result as tab-separated text} or {"error": what ClickHouse said}.
import { query } from 'chdb';
import { createInterface } from 'node:readline';

for await (const text of createInterface({ input: process.stdin })) {
  let answer;
  try {
    answer = { rows: String(query(text, 'TSV')) };
  } catch (err) {
    answer = { error: String(err) };
  }
  process.stdout.write(JSON.stringify(answer) + '\n');
}
