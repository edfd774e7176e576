"""The bucket of MLflow's artifacts: make it, save it to a folder, or load it from there.

    python objects.py make
    python objects.py save FOLDER      # what the folder has already is not read again
    python objects.py load FOLDER

The address and the keys of the store come from MLFLOW_S3_ENDPOINT_URL, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.
"""

import os
import sys
from pathlib import Path
from typing import Any

import boto3

BUCKET = "mlflow"


def make(s3: Any) -> None:
    """Make the bucket if it is not there."""
    if BUCKET not in [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]:
        s3.create_bucket(Bucket=BUCKET)


def save(s3: Any, folder: Path) -> int:
    """Copy every object that is newer or of another size than its file, each under its name only when it is whole.

    Returns:
        The number of objects that were copied.

    Raises:
        ValueError: the name of an object leads out of the folder.
    """
    copied = 0
    for key, size, changed in objects(s3):
        file = (folder / key).resolve()
        if not file.is_relative_to(folder.resolve()):
            raise ValueError(f"s3://{BUCKET}/{key}: its name leads out of {folder}")
        if file.is_file() and (file.stat().st_size, file.stat().st_mtime) == (size, changed):
            continue
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_name(f".{file.name}.part")
        s3.download_file(BUCKET, key, str(part))
        os.utime(part, (changed, changed))
        part.replace(file)
        copied += 1
    return copied


def load(s3: Any, folder: Path) -> int:
    """Copy every file of the folder to the bucket, and return how many there are."""
    make(s3)
    files = [file for file in sorted(folder.rglob("*")) if file.is_file() and not file.name.endswith(".part")]
    for file in files:
        s3.upload_file(str(file), BUCKET, file.relative_to(folder).as_posix())
    return len(files)


def objects(s3: Any) -> list[tuple[str, int, float]]:
    """Return name, bytes, and seconds since 1970 of the last change of every object."""
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
    found = [one for page in pages for one in page.get("Contents", [])]
    return [(one["Key"], one["Size"], one["LastModified"].timestamp()) for one in found]


def main(words: list[str]) -> None:
    """Do what the words say."""
    if not (words == ["make"] or (len(words) == 2 and words[0] in ("save", "load"))):
        sys.exit("usage: objects.py make | save FOLDER | load FOLDER")
    s3 = boto3.client("s3", endpoint_url=os.environ.get("MLFLOW_S3_ENDPOINT_URL"))
    if words[0] == "make":
        make(s3)
    elif words[0] == "save":
        print(f"{save(s3, Path(words[1]))} objects copied to {words[1]}")
    elif not Path(words[1]).is_dir():
        sys.exit(f"error: {words[1]}: no such folder")
    else:
        print(f"{load(s3, Path(words[1]))} objects copied from {words[1]}")


if __name__ == "__main__":
    main(sys.argv[1:])
