"""Supabase's Python SDK at work on a server: one line of JSON for each step. Its arguments are a URL and a service key."""

import json
import sys

import httpx
from storage3 import create_client

url, key = sys.argv[1:]
storage = create_client(
    url + "/storage/v1/", {"apiKey": key, "Authorization": f"Bearer {key}"}, is_async=False
)


def tell(step, result):
    print(json.dumps([step, result]), flush=True)


storage.create_bucket(
    "python", options={"public": False, "file_size_limit": 1000, "allowed_mime_types": ["text/*"]}
)
storage.update_bucket("python", {"public": True})
bucket = storage.get_bucket("python")
tell("get_bucket", [bucket.id, bucket.public, bucket.file_size_limit, bucket.allowed_mime_types])
tell("list_buckets", [one.id for one in storage.list_buckets()])

files = storage.from_("python")
tell("upload", files.upload("in/a b.txt", b"hello", {"content-type": "text/plain", "metadata": {"by": "me"}}).path)
tell("update", files.update("in/a b.txt", b"hello again", {"content-type": "text/plain"}).path)
tell("download", files.download("in/a b.txt").decode())
tell("info", files.info("in/a b.txt")["name"])
tell("exists", [files.exists("in/a b.txt"), files.exists("in/nothing.txt")])
tell("copy", files.copy("in/a b.txt", "in/b.txt")["Key"])
tell("move", files.move("in/b.txt", "in/c.txt"))
tell("list", [one["name"] for one in files.list("in", {"limit": 10, "sortBy": {"column": "name", "order": "desc"}})])
tell("list_v2", [one.name for one in files.list_v2({"prefix": "in/", "limit": 10, "with_delimiter": True}).objects])

signed = files.create_signed_url("in/a b.txt", 60)
tell("create_signed_url", httpx.get(signed["signedURL"]).text)
named = files.create_signed_url("in/a b.txt", 60, {"download": "other.txt"})
tell("download as", httpx.get(named["signedURL"]).headers["content-disposition"])
many = files.create_signed_urls(["in/a b.txt", "in/nothing.txt"], 60)
tell("create_signed_urls", [one["error"] or httpx.get(one["signedURL"]).text for one in many])

place = files.create_signed_upload_url("in/d.txt")
tell("upload_to_signed_url", files.upload_to_signed_url(place["path"], place["token"], b"d", {"content-type": "text/plain"}).path)
tell("remove", [one["name"] for one in files.remove(["in/c.txt", "in/nothing.txt"])])
storage.empty_bucket("python")
storage.delete_bucket("python")
tell("delete_bucket", [one.id for one in storage.list_buckets()])
