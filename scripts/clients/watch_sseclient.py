"""Watches a session with sseclient-py, and says yes to what is asked.

Usage: watch_sseclient.py SESSION_URL [TOKEN]. The library reads a stream that its user opens, and
leaves coming back to its user.
"""

import time

import httpx
from sseclient import SSEClient

from watcher import client, session, show

resume, retry_ms = {"Accept": "text/event-stream"}, 100
while True:
    try:
        with client.stream("GET", f"{session}/events", headers=resume) as answer:
            # A proxy may answer for a server that is away.
            answer.raise_for_status()
            for event in SSEClient(answer.iter_bytes()).events():
                show(event.id, event.event, event.data)
                resume["Last-Event-ID"], retry_ms = event.id, int(event.retry or retry_ms)
    except httpx.HTTPError:
        pass
    time.sleep(retry_ms / 1000)
