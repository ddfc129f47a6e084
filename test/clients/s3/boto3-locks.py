"""What boto3 can do here with object lock. Tells each step as one line of JSON: its name and what came of it."""

import json
import sys
from datetime import datetime, timedelta, timezone

import boto3
from botocore.client import Config
from botocore.exceptions import ClientError

endpoint, bucket = sys.argv[1:]
s3 = boto3.client(
    "s3", endpoint_url=endpoint, config=Config(signature_version="s3v4", s3={"addressing_style": "path"})
)


def tell(step, result):
    print(json.dumps([step, result]))


def code(call, **arguments):
    try:
        call(**arguments)
    except ClientError as error:
        return error.response["Error"]["Code"]
    return None


def in_days(days):
    return datetime.now(timezone.utc) + timedelta(days=days)


def is_beyond(moment, days):
    return moment > in_days(days)


def configure(name, **retention):
    rule = {"Rule": {"DefaultRetention": retention}} if retention else {}
    return code(
        s3.put_object_lock_configuration,
        Bucket=name,
        ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", **rule},
    )


plain = bucket + "-plain"
s3.create_bucket(Bucket=plain)
tell("none", code(s3.get_object_lock_configuration, Bucket=plain))

s3.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)
at = {"Bucket": bucket, "Key": "free"}
free = s3.put_object(**at, Body="free")["VersionId"]
tell("unlocked", code(s3.get_object_retention, **at))

configure(bucket, Mode="COMPLIANCE", Days=2)
tell(
    "configuration",
    s3.get_object_lock_configuration(Bucket=bucket)["ObjectLockConfiguration"]["Rule"]["DefaultRetention"],
)
tell("shorter", configure(bucket, Mode="COMPLIANCE", Days=1))
tell("governance", configure(bucket, Mode="GOVERNANCE", Days=9))

at = {"Bucket": bucket, "Key": "a"}
first = s3.put_object(**at, Body="one")["VersionId"]
second = s3.put_object(**at, Body="two")["VersionId"]
head = s3.head_object(**at)
tell("default", [head["ObjectLockMode"], is_beyond(head["ObjectLockRetainUntilDate"], 1.9)])

until = in_days(5)
s3.put_object_retention(
    **at, VersionId=first, Retention={"Mode": "COMPLIANCE", "RetainUntilDate": until}
)
retention = s3.get_object_retention(**at, VersionId=first)["Retention"]
tell("retention", [retention["Mode"], is_beyond(retention["RetainUntilDate"], 4.9)])
tell(
    "retention back",
    code(
        s3.put_object_retention,
        **at,
        VersionId=first,
        Retention={"Mode": "COMPLIANCE", "RetainUntilDate": in_days(4)},
    ),
)

OFF, ON = {"Status": "OFF"}, {"Status": "ON"}
tell("hold off before", code(s3.put_object_legal_hold, **at, VersionId=second, LegalHold=OFF))
before = s3.get_object_legal_hold(**at, VersionId=second)["LegalHold"]["Status"]
s3.put_object_legal_hold(**at, VersionId=second, LegalHold=ON)
tell("hold", [before, s3.get_object_legal_hold(**at, VersionId=second)["LegalHold"]["Status"]])
tell("hold off", code(s3.put_object_legal_hold, **at, VersionId=second, LegalHold=OFF))

LOCK = {"ObjectLockMode": "COMPLIANCE", "ObjectLockRetainUntilDate": until}
s3.put_object(Bucket=bucket, Key="sent", Body="sent", ObjectLockLegalHoldStatus="ON", **LOCK)
got = s3.get_object(Bucket=bucket, Key="sent")
tell(
    "sent",
    [
        got["ObjectLockMode"],
        got["ObjectLockLegalHoldStatus"],
        is_beyond(got["ObjectLockRetainUntilDate"], 4.9),
    ],
)
s3.copy_object(Bucket=bucket, Key="copied", CopySource={"Bucket": bucket, "Key": "sent"}, **LOCK)
got = s3.head_object(Bucket=bucket, Key="copied")
tell("copied", [got["ObjectLockMode"], "ObjectLockLegalHoldStatus" not in got])

parts = {"Bucket": bucket, "Key": "parts"}
upload = s3.create_multipart_upload(**parts, ObjectLockLegalHoldStatus="ON", **LOCK)["UploadId"]
tag = s3.upload_part(**parts, UploadId=upload, PartNumber=1, Body=b"part")["ETag"]
s3.complete_multipart_upload(
    **parts, UploadId=upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": tag}]}
)
got = s3.head_object(**parts)
tell("parts", [got["ObjectLockMode"], got["ObjectLockLegalHoldStatus"]])

tell("deleted", [code(s3.delete_object, **at, VersionId=version) for version in (first, second)])
done = s3.delete_objects(
    Bucket=bucket,
    Delete={"Objects": [{"Key": "a", "VersionId": first}, {"Key": "b"}]},
)
tell("deleted many", [done["Errors"][0]["Code"], len(done.get("Deleted", [])) == 1])
s3.delete_object(**at)
tell("there", s3.get_object(**at, VersionId=first)["Body"].read() == b"one")

s3.put_object(Bucket=plain, Key="a", Body="a")
tell(
    "unlockable",
    [
        code(s3.put_object_legal_hold, Bucket=plain, Key="a", LegalHold=ON),
        code(s3.get_object_retention, Bucket=plain, Key="a"),
    ],
)
