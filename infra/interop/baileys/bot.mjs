// A bot on unmodified Baileys, for tests: it takes commands as lines of JSON on
// standard input and reports events as lines of JSON on standard output.
//
//   node bot.mjs <ws address> <root key, hex> <auth folder>
//
// Commands: {"cmd":"send","tag":1,"to":jid,"text":…}  {"cmd":"stop"}
// Events: qr, open, sent, message, retry, closed, failed
import { readline } from './lines.mjs'

// libsignal prints whole sessions, private keys and all, when it closes one.
for (const name of ['log', 'info', 'warn', 'error', 'debug']) console[name] = () => {}

const report = (event) => process.stdout.write(JSON.stringify(event) + '\n')

// Baileys logs what it does, contents included: only to standard error, if asked.
const readable = (_, value) => value instanceof Error ? { name: value.name, message: value.message } : value
const say = (level) => (...what) => {
  if (process.env.BOT_LOG) process.stderr.write(`${level} ${JSON.stringify(what, readable)}\n`)
}
const logger = { level: 'trace', child: () => logger }
for (const level of ['trace', 'debug', 'info', 'warn', 'error', 'fatal']) logger[level] = say(level)

const [address, root, folder] = process.argv.slice(2)
const baileys = await import('@whiskeysockets/baileys')
const { WA_CERT_DETAILS } = await import('@whiskeysockets/baileys/lib/Defaults/index.js')
// The one thing a simulated service can't have is WhatsApp's own key.
WA_CERT_DETAILS.PUBLIC_KEY = Buffer.from(root, 'hex')

const { state, saveCreds } = await baileys.useMultiFileAuthState(folder)
let socket
let stopping = false
let saving = Promise.resolve()

function connect() {
  socket = baileys.makeWASocket({
    auth: state,
    waWebSocketUrl: address,
    logger,
    syncFullHistory: false,
    generateHighQualityLinkPreview: false,
    getMessage: async () => undefined,
  })
  socket.ev.on('creds.update', () => { saving = saving.then(saveCreds) })
  socket.ev.on('connection.update', ({ connection, qr, lastDisconnect }) => {
    if (qr) report({ event: 'qr', qr })
    if (connection === 'open') report({ event: 'open', me: state.creds.me?.id })
    if (connection !== 'close' || stopping) return
    const code = lastDisconnect?.error?.output?.statusCode
    if (code === baileys.DisconnectReason.restartRequired) return connect()
    report({ event: 'closed', code, text: String(lastDisconnect?.error?.message) })
  })
  socket.ev.on('messages.upsert', ({ messages }) => {
    for (const m of messages) {
      const text = m.message?.conversation ?? m.message?.extendedTextMessage?.text
      if (text !== undefined && !m.key.fromMe) report({ event: 'message', id: m.key.id, from: m.key.remoteJid, text })
    }
  })
}

// stop ends the connection and the process, once Baileys has written its keys: it
// does that on its own time, and a process that exits at once would leave a folder
// that is older than its last message.
async function stop() {
  stopping = true
  await socket.end(undefined)
  await saving
  await saveCreds()
  for (let calm = 0; calm < 10;) {
    await new Promise((resolve) => setTimeout(resolve, 20))
    const writing = process.getActiveResourcesInfo().some((name) => name.startsWith('FSReq'))
    calm = writing ? 0 : calm + 1
  }
  report({ event: 'stopped' })
  process.exit(0)
}

async function send({ tag, to, text }) {
  try {
    const sent = await socket.sendMessage(to, { text })
    report({ event: 'sent', tag, id: sent.key.id })
  } catch (error) {
    report({ event: 'failed', tag, text: String(error?.message ?? error) })
  }
}

connect()
for await (const command of readline(process.stdin)) {
  if (command.cmd === 'send') await send(command)
  if (command.cmd === 'stop') break
}
await stop()
