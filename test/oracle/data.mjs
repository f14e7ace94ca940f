// Prints the price list that is bundled with @pydantic/genai-prices as JSON, in the form of its data.json. Numbers have their shortest
// text, which is the one that they were written with.
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import vm from 'node:vm'

export function bundledData() {
  const file = createRequire(import.meta.url).resolve('@pydantic/genai-prices')
  const source = readFileSync(file, 'utf8')
  const name = /const ([A-Za-z_$]+)=\[\{id:"/.exec(source)?.[1]
  if (!name) throw new Error(`${file} holds no price list`)
  const exports = {}
  vm.runInNewContext(`(function (exports) {${source};exports.bundled=${name}})`, { console })(exports)
  return exports.bundled.map(({ extractors, ...provider }) => provider)
}

if (process.argv[1] === new URL(import.meta.url).pathname) process.stdout.write(JSON.stringify(bundledData()))
