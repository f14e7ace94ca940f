// Prints calls of every model of the bundled price list with what calcPrice says they cost, one JSON object a line.
import { calcPrice } from '@pydantic/genai-prices'
import { bundledData } from './data.mjs'

const calls = {
  plain: { input_tokens: 1234, output_tokens: 567 },
  one: { input_tokens: 1, output_tokens: 1 },
  cached: { input_tokens: 50021, cache_read_tokens: 30011, cache_write_tokens: 5003, output_tokens: 701 },
  'cache for an hour': { input_tokens: 9001, cache_write_tokens: 4001, cache_write_1h_tokens: 4001, output_tokens: 11 },
  'at 128k': { input_tokens: 128000, output_tokens: 100 },
  'above 128k': { input_tokens: 128001, output_tokens: 100 },
  'at 200k': { input_tokens: 200000, cache_read_tokens: 150000, output_tokens: 100 },
  'above 200k': { input_tokens: 200001, cache_read_tokens: 150000, output_tokens: 100 },
  'at 272k': { input_tokens: 272000, output_tokens: 1 },
  long: { input_tokens: 1000003, cache_read_tokens: 999983, cache_write_tokens: 7, output_tokens: 65536 },
  reasoning: { input_tokens: 333, output_tokens: 5003, output_reasoning_tokens: 3001 },
  audio: { input_tokens: 1009, input_audio_tokens: 401, output_tokens: 503, output_audio_tokens: 211 },
  image: { input_tokens: 1009, input_image_tokens: 401, output_tokens: 503, output_image_tokens: 211 },
  'web search': { input_tokens: 100, output_tokens: 10, web_searches: 3 },
  'storage search': { input_tokens: 100, output_tokens: 10, storage_searches: 7 },
  seconds: { audio_seconds: 1801 },
  'input seconds': { input_audio_seconds: 1801 },
  pages: { input_document_pages: 17 },
}

// Calls of which a model must have a price of its own.
const needs = {
  'web search': ['web_searches_kcount'],
  'storage search': ['storage_searches_kcount'],
  seconds: ['audio_hours'],
  'input seconds': ['input_audio_hours'],
  pages: ['input_document_kpages'],
}

const times = ['2025-01-15T12:00:00Z', '2026-09-23T02:30:00Z', '2026-09-23T12:00:00Z', '2026-09-23T20:00:00Z', '2027-02-01T00:00:00Z']

function* references(match) {
  if (match.equals) yield match.equals
  if (match.starts_with) yield `${match.starts_with}-20250929`
  for (const part of [...(match.or ?? []), ...(match.and ?? [])]) yield* references(part)
}

console.warn = () => {}
for (const provider of bundledData()) {
  for (const model of provider.models) {
    const dated = Array.isArray(model.prices)
    for (const name of new Set([model.id, ...references(model.match)])) {
      for (const [kind, usage] of Object.entries(calls)) {
        for (const at of dated ? times : times.slice(2, 3)) {
          let result
          try {
            result = calcPrice(usage, name, { providerId: provider.id, timestamp: new Date(at) })
          } catch (error) {
            result = null
          }
          if (!result) continue
          if (kind in needs && !needs[kind].some((key) => key in result.model_price)) continue
          console.log(JSON.stringify({ provider: provider.id, served: result.provider.id, model: name, priced_as: result.model.id, kind, at, usage, total: String(result.total_price) }))
        }
      }
    }
  }
}
