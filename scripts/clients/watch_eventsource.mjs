// Watches a session with the package `eventsource`, and says yes to what is asked.
// Usage: watch_eventsource.mjs SESSION_URL [TOKEN]. It comes back by itself.
import { EventSource } from 'eventsource'
import { headers, listen, session } from './watcher.mjs'

const withToken = (url, init) => fetch(url, { ...init, headers: { ...init.headers, ...headers } })
listen(new EventSource(`${session}/events`, { fetch: withToken }))
