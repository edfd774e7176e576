"""Arrow tables as compressed bytes, which travel between the driver and its tasks."""

import pyarrow as pa


def packed_table(table: pa.Table) -> bytes:
    """Return a table as compressed bytes."""
    content = pa.BufferOutputStream()
    with pa.ipc.new_stream(content, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as stream:
        stream.write_table(table.combine_chunks())
    return bytes(content.getvalue())


def unpacked_table(content: bytes) -> pa.Table:
    """Return the table that was packed."""
    return pa.ipc.open_stream(content).read_all()
