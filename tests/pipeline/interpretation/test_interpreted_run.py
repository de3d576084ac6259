import hashlib

import pyarrow as pa

from pipeline.interpretation.interpreted_run import InterpretedRun


def test_kinds_are_left_out_when_the_list_is_gone_or_was_changed(tmp_path):
    path = tmp_path / "list.txt"
    metadata = {
        "concept_list": {"name": str(path), "sha256": hashlib.sha256(b"boat = noun:boat").hexdigest()}
    }
    run = InterpretedRun(None, pa.table({}), pa.table({}), metadata)
    assert run.kinds() == {}
    path.write_bytes(b"boat = noun:boat")
    assert run.kinds() == {"boat": "noun"}
    path.write_bytes(b"boat = verb:boat")
    assert run.kinds() == {}
