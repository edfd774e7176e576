"""The bucket of MLflow's artifacts: make it, save it to a folder, check what was saved, or load it from there.

    python objects.py make
    python objects.py save FOLDER      # what the folder has already is not read again
    python objects.py check FOLDER     # whether every file is as it was saved
    python objects.py load FOLDER      # checks all of them first

FOLDER has a file for each object. FOLDER.jsonl beside it has a line for each copy that was made, with the SHA-256 of
its bytes; the last line of an object counts. Nothing is ever deleted, neither in the folder nor in the bucket.

The address and the keys of the store come from MLFLOW_S3_ENDPOINT_URL, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.
"""

import errno
import hashlib
import json
import os
import sys
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import boto3
from botocore.exceptions import ClientError

BUCKET = "mlflow"
OF_A_NAME = (errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG)
"""What a file system says of names that it cannot hold: `a` beside `a/b`, or more than 255 bytes."""


class Copy(NamedTuple):
    """What is known of the copy of an object."""

    size: int
    changed: float
    """When the object was last changed, in seconds since 1970."""
    sha256: str


def make(s3: Any) -> None:
    """Make the bucket if it is not there."""
    if BUCKET not in [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]:
        s3.create_bucket(Bucket=BUCKET)


def save(s3: Any, folder: Path) -> tuple[int, list[str]]:
    """Copy every object that is new or has changed, each under its name only when it is whole.

    Returns:
        The number of objects that were copied, and what is wrong with each one that cannot be.
    """
    folder.mkdir(exist_ok=True)
    known = copies(folder) if list_of(folder).exists() else {}
    part = folder.with_name(f"{folder.name}.part")  # not in the folder: an object may have any name
    copied, wrong = 0, []
    with list_of(folder).open("a") as lines:
        lines.write("\n")  # after a line that was cut short
        for key, size, changed in objects(s3):
            try:
                file = place(folder, key)
                if key in known and known[key][:2] == (size, changed) and file.is_file():
                    continue
                file.parent.mkdir(parents=True, exist_ok=True)
                s3.download_file(BUCKET, key, str(part))
                copy = Copy(size, changed, digest(part))
                part.replace(file)
            except ClientError as error:
                if error.response["Error"]["Code"] not in ("404", "NoSuchKey"):  # deleted since it was listed
                    raise
                continue
            except ValueError as error:
                wrong.append(str(error))
                continue
            except OSError as error:
                if error.errno not in OF_A_NAME:
                    raise
                wrong.append(f"s3://{BUCKET}/{key}: {error.strerror}: no file can have its name in {folder}")
                continue
            lines.write(json.dumps({"key": key, **copy._asdict()}) + "\n")
            lines.flush()
            copied += 1
    part.unlink(missing_ok=True)
    return copied, wrong


def check(folder: Path) -> list[str]:
    """Compare every file with what was saved, and return what is wrong with each that is not the same."""
    wrong = []
    for key, copy in copies(folder).items():
        file = place(folder, key)
        if not file.is_file():
            wrong.append(f"{file}: is not there")
        elif digest(file) != copy.sha256:
            wrong.append(f"{file}: is not what was saved")
    return wrong


def load(s3: Any, folder: Path) -> int:
    """Copy every object to the bucket that is not there as it was saved, and return how many these were."""
    make(s3)
    there = {key: (size, changed) for key, size, changed in objects(s3)}
    missing = [key for key, copy in copies(folder).items() if there.get(key) != copy[:2]]
    for key in missing:
        s3.upload_file(str(place(folder, key)), BUCKET, key)
    return len(missing)


def objects(s3: Any) -> list[tuple[str, int, float]]:
    """Return name, bytes, and seconds since 1970 of the last change of every object."""
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
    found = [one for page in pages for one in page.get("Contents", [])]
    return [(one["Key"], one["Size"], one["LastModified"].timestamp()) for one in found]


def place(folder: Path, key: str) -> Path:
    """Return the file of an object.

    Raises:
        ValueError: its name is not that of a file below the folder.
    """
    name = PurePosixPath(key)
    if name.is_absolute() or ".." in name.parts or name.as_posix() != key or "\0" in key:
        raise ValueError(f"s3://{BUCKET}/{key}: its name is not that of a file in {folder}")
    return folder / name


def list_of(folder: Path) -> Path:
    """Return the file that lists the copies of a folder."""
    return folder.with_name(f"{folder.name}.jsonl")


def copies(folder: Path) -> dict[str, Copy]:
    """Return what is known of the copy of every object."""
    known = {}
    for line in list_of(folder).read_text().splitlines():
        try:
            told = json.loads(line)
        except ValueError:  # it was cut short: its object is copied again by the next `save`
            continue
        key = told.pop("key")
        known[key] = Copy(**told)
    return known


def others(folder: Path) -> list[Path]:
    """Return the files that nothing is known of: a save was ended before it could say so, or someone put them there."""
    known = {place(folder, key) for key in copies(folder)}
    return sorted(file for file in folder.rglob("*") if file.is_file() and file not in known)


def digest(file: Path) -> str:
    """Return the SHA-256 of a file."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def end_if(wrong: list[str], what: str) -> None:
    """Say what is wrong, ten lines of it at most, and end with status 1; do nothing if nothing is."""
    if wrong:
        more = [f"and {len(wrong) - 10} more"] if len(wrong) > 10 else []
        sys.exit("\n".join([*(f"error: {line}" for line in wrong[:10]), *more, what]))


def main(words: list[str]) -> None:
    """Do what the words say; what it writes is for this user alone."""
    os.umask(0o077)
    if not (words == ["make"] or (len(words) == 2 and words[0] in ("save", "check", "load"))):
        sys.exit("usage: objects.py make | save FOLDER | check FOLDER | load FOLDER")
    verb, folder = words[0], Path(words[-1]).absolute()
    if verb in ("check", "load"):
        if not (folder.is_dir() and list_of(folder).is_file()):
            sys.exit(f"error: {folder}: there is no such folder with {list_of(folder).name} beside it")
        end_if(check(folder), "nothing was copied to the bucket")
        print(f"{len(copies(folder))} objects in {folder} are as they were saved")
        if unlisted := others(folder):
            print(f"warning: {list_of(folder)} does not name {len(unlisted)} files, such as {unlisted[0]}: left out")
        if verb == "check":
            return
    s3 = boto3.client("s3", endpoint_url=os.environ.get("MLFLOW_S3_ENDPOINT_URL"))
    if verb == "make":
        make(s3)
    elif verb == "save":
        copied, wrong = save(s3, folder)
        print(f"{copied} objects copied to {folder}")
        end_if(wrong, "every other object is saved")
    else:
        print(f"{load(s3, folder)} objects copied from {folder}")


if __name__ == "__main__":
    main(sys.argv[1:])
