#include "core/endian.h"

#include <gtest/gtest.h>

#include "core/bytes.h"

namespace karst {
namespace {

TEST(Endian, LittleStoresLowByteFirst) {
  le32 value = 0x01020304u;
  auto bytes = bytes_of(value);
  EXPECT_EQ(std::to_integer<int>(bytes[0]), 4);
  EXPECT_EQ(std::to_integer<int>(bytes[3]), 1);
  EXPECT_EQ(value, 0x01020304u);
}

TEST(Endian, BigStoresHighByteFirst) {
  be64 value = 0x0102030405060708ull;
  EXPECT_EQ(std::to_integer<int>(bytes_of(value)[0]), 1);
  EXPECT_EQ(value.value(), 0x0102030405060708ull);
}

TEST(Bytes, OverlayAndSliceRefuseWhatDoesNotFit) {
  std::array<std::byte, 10> buffer{};
  EXPECT_NE(overlay<le64>(Bytes(buffer), 2), nullptr);
  EXPECT_EQ(overlay<le64>(Bytes(buffer), 3), nullptr);
  EXPECT_EQ(overlay<le64>(Bytes(buffer), ~0ull), nullptr);
  EXPECT_TRUE(slice(buffer, 10, 0).has_value());
  EXPECT_FALSE(slice(buffer, 1, ~0ull).has_value());
}

}  // namespace
}  // namespace karst
