#include "core/uuid.h"

#include <gtest/gtest.h>

namespace karst {
namespace {

TEST(Uuid, TextAndParseAreInverse) {
  const std::string text = "01234567-89ab-cdef-0011-223344556677";
  auto uuid = Uuid::parse(text);
  ASSERT_TRUE(uuid);
  EXPECT_EQ(uuid->text(), text);
  EXPECT_EQ(Uuid::parse("01234567-89AB-CDEF-0011-223344556677"), uuid);
}

TEST(Uuid, ParseRefusesOtherForms) {
  EXPECT_FALSE(Uuid::parse(""));
  EXPECT_FALSE(Uuid::parse("0123456789abcdef0011223344556677"));
  EXPECT_FALSE(Uuid::parse("01234567-89ab-cdef-0011-22334455667g"));
}

}  // namespace
}  // namespace karst
