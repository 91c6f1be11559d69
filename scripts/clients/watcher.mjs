// What the watchers in JavaScript share, in Node and in a page: their arguments (in a page those of
// the query, in the same order), what they print, and how they say yes.

const values = globalThis.process?.argv.slice(2) ?? new URLSearchParams(location.search).values()
export const [session, token] = values
export const headers = token ? { Authorization: `Bearer ${token}` } : {}

// A listener knows the name that it waits for.
const names = [
  'session', 'start', 'user_message', 'token', 'message', 'tool_call', 'tool_result', 'approval_required',
  'approval_decision', 'notice', 'done', 'cancelled', 'error', 'status', 'rewind', 'gap', 'detached',
]

// Shows all that an `EventSource` hears.
export function listen(source) {
  for (const name of names) {
    source.addEventListener(name, (event) => {
      // `EventSource` has an event of its own that is called `error`, without data.
      if (name !== 'error' || event.data) show(event.lastEventId, name, event.data)
    })
  }
}

// Prints an event as the library gave it, one line of JSON, and says yes to what it asks.
export function show(id, event, data) {
  console.log(JSON.stringify({ id, event, data }))
  if (event === 'approval_required') approve(JSON.parse(data))
}

async function approve({ call_id, command }) {
  const answer = await fetch(`${session}/approve`, {
    method: 'POST',
    headers: { ...headers, 'Content-Type': 'application/json' },
    body: JSON.stringify({ call_id, command, decision: 'allow_once' }),
  })
  if (!answer.ok) throw new Error(await answer.text())
}
