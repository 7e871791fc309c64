"""Uploads as a Python program does: with requests where it is installed, else with http.client.

Reads jobs from standard input, one JSON object a line: url, key, path, how ("length" or "chunked").
Writes for each a line: {"status", "body"} or {"error"}.
"""

import http.client
import json
import sys
import urllib.parse

try:
    import requests
except ImportError:
    requests = None

BOUNDARY = "python-boundary"


def pieces(path):
    yield (
        f"--{BOUNDARY}\r\n"
        'Content-Disposition: form-data; name="file"; filename="a.bin"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    ).encode()
    with open(path, "rb") as file:
        while piece := file.read(256 * 1024):
            yield piece
    yield f"\r\n--{BOUNDARY}--\r\n".encode()


def with_requests(url, key, path, how):
    headers = {"x-api-key": key, "Connection": "close"}
    if how == "chunked":
        headers["Content-Type"] = f"multipart/form-data; boundary={BOUNDARY}"
        answer = requests.post(url, headers=headers, data=pieces(path), timeout=60)
    else:
        with open(path, "rb") as file:
            answer = requests.post(url, headers=headers, files={"file": ("a.bin", file)}, timeout=60)
    return answer.status_code, answer.text


def with_http_client(url, key, path, how):
    where = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(where.hostname, where.port, timeout=60)
    headers = {"x-api-key": key, "Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    if how == "chunked":
        connection.request("POST", where.path, pieces(path), headers, encode_chunked=True)
    else:
        connection.request("POST", where.path, b"".join(pieces(path)), headers)
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


for line in sys.stdin:
    job = json.loads(line)
    upload = with_http_client if requests is None or job.get("plain") else with_requests
    try:
        status, body = upload(job["url"], job["key"], job["path"], job["how"])
        result = {"status": status, "body": body}
    except Exception as error:
        result = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(result), flush=True)
