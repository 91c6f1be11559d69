// Watches a session with `@microsoft/fetch-event-source`, and says yes to what is asked.
// Usage: watch_fetch_event_source.mjs SESSION_URL [TOKEN]. It comes back by itself.
import client from '@microsoft/fetch-event-source'
import { headers, session, show } from './watcher.mjs'

// Of a browser's page it needs no more than this.
globalThis.window = globalThis
globalThis.document = { removeEventListener() {} }

await client.fetchEventSource(`${session}/events`, {
  headers,
  openWhenHidden: true,
  onmessage: ({ id, event, data }) => show(id, event, data),
  // An end in good order is the end to it, and proxies make one of a server that was killed.
  onclose: () => {
    throw new Error('the session goes on')
  },
})
