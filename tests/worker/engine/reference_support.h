// Committed reference tensors of tests/fixtures, and the comparison with them.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <string>
#include <vector>

#include "worker/engine/checkpoint/safetensors.h"
#include "worker/engine/ground/batch.h"

namespace galleon {

inline SafetensorsReader open_fixture(const std::string& name) {
  // A bundle lies elsewhere than the sources that it was built from.
  const char* root = std::getenv("GALLEON_ROOT");
  absl::StatusOr<SafetensorsReader> reader = SafetensorsReader::open(
      std::string(root != nullptr ? root : GALLEON_SOURCE_DIR) + "/tests/fixtures/" + name + ".safetensors");
  EXPECT_TRUE(reader.ok()) << reader.status();
  return *std::move(reader);
}

inline std::vector<float> fixture(const SafetensorsReader& reader, const std::string& name) {
  std::vector<float> values(reader.entries().at(name).count());
  const absl::Status status = reader.read(name, 0, static_cast<int64_t>(values.size()), values.data());
  EXPECT_TRUE(status.ok()) << status;
  return values;
}

inline std::vector<int32_t> integer_fixture(const SafetensorsReader& reader, const std::string& name) {
  const std::vector<float> values = fixture(reader, name);
  return {values.begin(), values.end()};
}

// The ids and targets of a fixture of language modelling.
inline Batch batch_fixture(const SafetensorsReader& reader) {
  const std::vector<int64_t>& shape = reader.entries().at("ids").shape;
  Batch batch;
  batch.sequences = shape[0];
  batch.length = shape[1];
  batch.ids = integer_fixture(reader, "ids");
  batch.targets = integer_fixture(reader, "targets");
  return batch;
}

// A padded batch of a fixture of classification.
inline Batch labelled_batch_fixture(const SafetensorsReader& reader) {
  const std::vector<int64_t>& shape = reader.entries().at("ids").shape;
  Batch batch;
  batch.sequences = shape[0];
  batch.length = shape[1];
  batch.ids = integer_fixture(reader, "ids");
  batch.lengths = integer_fixture(reader, "lengths");
  batch.token_types = integer_fixture(reader, "token_types");
  batch.labels = fixture(reader, "labels");
  return batch;
}

// ‖a − b‖ / ‖b‖.
inline double relative_difference(const std::vector<float>& a, const std::vector<float>& b) {
  EXPECT_EQ(a.size(), b.size());
  double difference = 0;
  double norm = 0;
  for (size_t i = 0; i < b.size(); ++i) {
    difference += (static_cast<double>(a[i]) - b[i]) * (static_cast<double>(a[i]) - b[i]);
    norm += static_cast<double>(b[i]) * b[i];
  }
  return std::sqrt(difference) / std::sqrt(norm);
}

}  // namespace galleon
