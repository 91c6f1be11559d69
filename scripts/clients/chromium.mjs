// Opens a page in headless Chromium and prints what it logs; each line of the input is run in it.
// Usage: chromium.mjs PROFILE_FOLDER URL. The browser ends with the input.
import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'

const [, , profile, url] = process.argv
const browser = spawn('chromium', [
  '--headless=new', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--no-first-run',
  '--disable-background-networking', '--disable-component-update', '--disable-sync', '--no-proxy-server',
  // Nothing leaves this machine.
  '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1',
  '--remote-debugging-pipe', `--user-data-dir=${profile}`, 'about:blank',
], { stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'] })
const [, , , commands, answers] = browser.stdio
browser.on('exit', (code) => process.exit(code ?? 1))

// The DevTools protocol: JSON texts, each with a zero byte after it.
const waiting = new Map()
let lastId = 0
function call(method, params = {}, sessionId = undefined) {
  const id = ++lastId
  commands.write(JSON.stringify({ id, method, params, sessionId }) + '\0')
  return new Promise((resolve) => waiting.set(id, resolve))
}

let unread = ''
answers.setEncoding('utf8')
answers.on('data', (text) => {
  const messages = (unread + text).split('\0')
  unread = messages.pop()
  for (const message of messages) take(JSON.parse(message))
})

function take({ id, method, params, result, error }) {
  if (error) fail(error)
  if (id) waiting.get(id)(result)
  if (method === 'Runtime.consoleAPICalled') console.log(params.args.map(({ value }) => value).join(' '))
  if (method === 'Runtime.exceptionThrown') fail(params.exceptionDetails)
}

function fail(reason) {
  console.error(JSON.stringify(reason))
  process.exitCode = 1
}

const { targetInfos } = await call('Target.getTargets')
const { targetId } = targetInfos.find(({ type }) => type === 'page')
const { sessionId } = await call('Target.attachToTarget', { targetId, flatten: true })
await call('Page.enable', {}, sessionId)
await call('Runtime.enable', {}, sessionId)
await call('Page.navigate', { url }, sessionId)

const lines = createInterface({ input: process.stdin })
lines.on('line', (expression) => call('Runtime.evaluate', { expression, awaitPromise: true }, sessionId))
lines.on('close', () => call('Browser.close'))
