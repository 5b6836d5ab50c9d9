#!/usr/bin/env python3
"""rooms.py finds what it is there to find, in small made-up trees."""
import os
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import rooms


class Rooms(unittest.TestCase):
    def faults(self, **files):
        with tempfile.TemporaryDirectory() as root:
            for name, text in files.items():
                path = os.path.join(root, name.replace("__", "/"))
                os.makedirs(os.path.dirname(path), exist_ok=True)
                with open(path + ".h", "w", encoding="utf-8") as file:
                    file.write(text)
            return rooms.faults(root)

    def test_an_include_against_the_order_is_named(self):
        self.assertEqual(self.faults(worker__engine__model__a='#include "worker/engine/optim/b.h"\n'),
                         ["worker/engine/model/a.h: worker/engine/model must not include worker/engine/optim/b.h"])

    def test_an_include_along_the_order_is_not(self):
        self.assertEqual(self.faults(worker__engine__optim__a='#include "worker/engine/ground/b.h"\n#include <vector>\n'), [])

    def test_the_core_knows_no_clock_and_no_grpc(self):
        found = self.faults(server__core__a="#include <chrono>\n#  include <grpcpp/server.h>\n")
        self.assertEqual(found, ["server/core/a.h: server/core must not know chrono",
                                 "server/core/a.h: server/core must not know grpcpp/server.h"])

    def test_the_engine_knows_no_service(self):
        self.assertEqual(len(self.faults(worker__engine__run__a="#include <prometheus/registry.h>\n")), 1)

    def test_a_folder_that_is_no_room_is_named(self):
        self.assertEqual(len(self.faults(server__new__a='#include "common/base/b.h"\n')), 1)


if __name__ == "__main__":
    unittest.main()
