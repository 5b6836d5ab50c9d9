#include "worker/engine/run/event_records.h"

#include <gtest/gtest.h>

#include "absl/strings/escaping.h"

namespace galleon {
namespace {

// RFC 3720, B.4, and the check value that catalogues of checksums give for "123456789".
TEST(Crc32c, GivesThePublishedValues) {
  std::string ascending(32, '\0');
  for (size_t i = 0; i < ascending.size(); ++i) ascending[i] = static_cast<char>(i);
  const std::string descending(ascending.rbegin(), ascending.rend());
  const std::string read_command = absl::HexStringToBytes(
      "01c00000000000000000000000000000"
      "14000000000004000000001400000018"
      "28000000000000000200000000000000");
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8a9136aaU);
  EXPECT_EQ(crc32c(std::string(32, '\xff')), 0x62a8ab43U);
  EXPECT_EQ(crc32c(ascending), 0x46dd794eU);
  EXPECT_EQ(crc32c(descending), 0x113fdb5cU);
  EXPECT_EQ(crc32c(read_command), 0xd9963a56U);
  EXPECT_EQ(crc32c("123456789"), 0xe3069283U);
  EXPECT_EQ(crc32c(""), 0U);
}

std::string recorded(const std::string& event) {
  return absl::BytesToHexString(framed_record(event));
}

// Bytes as the tensorboard package writes the same events: tests/fixtures/make_tensorboard.py.
TEST(EventRecords, AreThePackagesByteForByte) {
  EXPECT_EQ(recorded(first_event(1700000000.5)),
            "1800000000000000a37f4b220900002040fc54d9411a0d627261696e2e4576656e743a322b353110");
  EXPECT_EQ(recorded(start_event(1700000000.5, 31)), "0f000000000000006d532b090900002040fc54d941101f3a020801217f8372");
  EXPECT_EQ(
      recorded(scalars_event(1700000001.25, 300, {{"train/loss", 2.5}, {"train/tokens", 4096}})),
      "36000000000000004f578cef0900005040fc54d94110ac022a280a110a0a747261696e2f6c6f737315000020400a130a0c747261696e"
      "2f746f6b656e73150000804513534061");
  EXPECT_EQ(
      recorded(hyperparameters_event(1700000000.5, {{"optimizer.learning_rate", 0.01}})),
      "7500000000000000d7d941780900002040fc54d9412a6a0a680a1c5f68706172616d735f2f73657373696f6e5f73746172745f696e66"
      "6f42060801120212004a400a3c0a0768706172616d7312311a2f0a240a176f7074696d697a65722e6c6561726e696e675f7261746512"
      "09117b14ae47e17a843f2900002040fc54d94120029ff8eca9");
  EXPECT_EQ(
      recorded(finished_event(1700000003.5)),
      "4f000000000000006c474f93090000e040fc54d9412a440a420a1a5f68706172616d735f2f73657373696f6e5f656e645f696e666f42"
      "060801120212004a1c0a180a0768706172616d73120d220b0801110000e040fc54d94120022f4e9770");
}

}  // namespace
}  // namespace galleon
