#include "btrfs/tool/build/plan_fields.h"

#include <gtest/gtest.h>

#include "btrfs/tool/build/errors.h"
#include "btrfs/tool/build/posix_acl.h"

namespace karst::btrfs::build {
namespace {

TEST(PlanFields, TimesAreSecondsOrRfc3339) {
  struct Case {
    const char* text;
    std::optional<Time> time;
  };
  for (const Case& c : {
           Case{"0", Time{0, 0}},
           Case{"1700000000.5", Time{1700000000, 500'000'000}},
           Case{"1.000000001", Time{1, 1}},
           Case{"-1.25", Time{-2, 750'000'000}},
           Case{"1970-01-01T00:00:00Z", Time{0, 0}},
           Case{"2024-02-29T12:00:00.25+01:00", Time{1709204400, 250'000'000}},
           Case{"1969-12-31T23:59:59Z", Time{-1, 0}},
           Case{"2023-02-29T00:00:00Z", std::nullopt},
           Case{"2024-02-29T24:00:00Z", std::nullopt},
           Case{"2024-02-29T12:00:00", std::nullopt},
           Case{"2024-02-29", std::nullopt},
           Case{"1.", std::nullopt},
           Case{"1.0000000001", std::nullopt},
           Case{"", std::nullopt},
           Case{"x", std::nullopt},
       })
    EXPECT_EQ(parse_time(c.text), c.time) << c.text;
}

TEST(PlanFields, HexAndBase64) {
  EXPECT_EQ(decode_hex("00fF41"), std::string("\0\xff\x41", 3));
  EXPECT_FALSE(decode_hex("0"));
  EXPECT_FALSE(decode_hex("0g"));
  EXPECT_EQ(decode_base64("aGVsbG8="), "hello");
  EXPECT_EQ(decode_base64("aGVsbG8"), "hello");
  EXPECT_EQ(decode_base64("aGk="), "hi");
  EXPECT_EQ(decode_base64(""), "");
  EXPECT_FALSE(decode_base64("a"));
  EXPECT_FALSE(decode_base64("aGk=="));
  EXPECT_FALSE(decode_base64("aG k"));
  EXPECT_FALSE(decode_base64("aGl="));  // bits that belong to no byte
}

std::optional<uint32_t> no_names(std::string_view, bool) { return std::nullopt; }

// What setfacl -m u:1000:rw,g:5:r on a file of mode 0640 leaves in getxattr's value.
TEST(PosixAcl, TheKernelsBinaryForm) {
  const auto entries =
      parse_acl("user::rw-,user:1000:rw-,group::r--,group:5:r--,mask::rw-,other::---", no_names).value();
  const std::string expected(
      "\x02\0\0\0"
      "\x01\0\x06\0\xff\xff\xff\xff"
      "\x02\0\x06\0\xe8\x03\0\0"
      "\x04\0\x04\0\xff\xff\xff\xff"
      "\x08\0\x04\0\x05\0\0\0"
      "\x10\0\x06\0\xff\xff\xff\xff"
      "\x20\0\0\0\xff\xff\xff\xff",
      4 + 6 * 8);
  EXPECT_EQ(encode_acl(entries).value(), expected);
  EXPECT_EQ(mode_of_acl(entries), 0660u);
}

TEST(PosixAcl, FollowsTheModeAsAfterChmod_BT061) {
  const auto names = [](std::string_view, bool) { return std::optional<uint32_t>(); };
  const auto changed = [&](const char* list, uint32_t mode) {
    return acl_after_chmod(encode_acl(parse_acl(list, names).value()).value(), mode);
  };
  const auto encoded = [&](const char* list) { return encode_acl(parse_acl(list, names).value()).value(); };
  EXPECT_EQ(changed("u::rwx,u:1:rw,g::r,m::rw,o::r", 0600), encoded("u::rw,u:1:rw,g::r,m::-,o::-"));
  EXPECT_EQ(changed("u::rwx,g::rwx,o::r", 04751), encoded("u::rwx,g::rx,o::x"));
  EXPECT_EQ(acl_after_chmod("what is this?", 0), "what is this?");
  EXPECT_EQ(acl_after_chmod("", 0), "");
}

TEST(PosixAcl, AMissingMaskIsTheUnionOfWhatItCovers) {
  const auto entries = parse_acl("u::rwx\nu:7:x # comment\ng::r\no::-\n", no_names).value();
  EXPECT_EQ(mode_of_acl(entries), 0750u);
  EXPECT_TRUE(encode_acl(entries));
}

TEST(PosixAcl, WhatTheKernelWouldRefuseIsRefused) {
  for (const char* text :
       {"u::rwx", "u::rwx,g::rx,o::x,u::r", "u::r,g::r,o::r,u:1:r,u:1:w", "u::r,g::r,o::r,m::r,m::w"})
    EXPECT_TRUE(encode_acl(parse_acl(text, no_names).value()).error().is(err::source_acl)) << text;
  for (const char* text : {"u", "u:1", "u::rwz", "x::r", "u:name:r", "m:1:r", "u::8", "u::"})
    EXPECT_TRUE(parse_acl(text, no_names).error().is(err::source_acl)) << text;
}

}  // namespace
}  // namespace karst::btrfs::build
