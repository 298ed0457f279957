import { createInterface } from 'node:readline'

// readline yields each line of a stream as the JSON value it holds.
export async function* readline(stream) {
  for await (const line of createInterface({ input: stream })) {
    if (line.trim() !== '') yield JSON.parse(line)
  }
}
