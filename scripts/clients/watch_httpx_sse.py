"""Watches a session with httpx-sse, and says yes to what is asked.

Usage: watch_httpx_sse.py SESSION_URL [TOKEN]. The library leaves coming back to its user.
"""

import time

import httpx
from httpx_sse import SSEError, connect_sse

from watcher import client, session, show

last_id, retry_ms = "", 100
while True:
    resume = {"Last-Event-ID": last_id} if last_id else {}
    try:
        with connect_sse(client, "GET", f"{session}/events", headers=resume) as source:
            for event in source.iter_sse():
                show(event.id, event.event, event.data)
                last_id, retry_ms = event.id, event.retry or retry_ms
    except (httpx.HTTPError, SSEError):
        pass
    time.sleep(retry_ms / 1000)
