// Writes, on standard output, the row that the Node service keeps of an auth
// folder: PBKDF2 and AES-256-CBC of Node's own crypto, Baileys' own JSON.
//
//   node row.mjs <auth folder> <session id> <secret>
import { createCipheriv, pbkdf2Sync, randomBytes } from 'node:crypto'

for (const name of ['log', 'info', 'warn', 'error', 'debug']) console[name] = () => {}

const [folder, session, secret] = process.argv.slice(2)
const { useMultiFileAuthState, BufferJSON } = await import('@whiskeysockets/baileys')
const { state } = await useMultiFileAuthState(folder)
const plaintext = JSON.stringify({ creds: state.creds, timestamp: Date.now() }, BufferJSON.replacer)

const key = pbkdf2Sync(session + secret, 'whiskeysocket', 100_000, 32, 'sha256')
const iv = randomBytes(16)
const cipher = createCipheriv('aes-256-cbc', key, iv)
const text = Buffer.concat([cipher.update(plaintext, 'utf8'), cipher.final()])
process.stdout.write(iv.toString('hex') + ':' + text.toString('hex'))
