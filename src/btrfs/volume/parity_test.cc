#include "btrfs/volume/parity.h"

#include <gtest/gtest.h>

#include <random>

namespace karst::btrfs {
namespace {

constexpr uint32_t seed = 20240607;

// Multiplication in the field as its definition has it, bit by bit.
uint8_t times(unsigned a, unsigned b) {
  unsigned result = 0;
  for (; b; b >>= 1) {
    if (b & 1) result ^= a;
    a = a & 0x80 ? (a << 1) ^ 0x11d : a << 1;
  }
  return static_cast<uint8_t>(result);
}

using Block = std::vector<std::byte>;

// One full stripe: data blocks, P, and Q if parity is 2; P and Q by the definition, byte by byte.
struct StripeSet {
  StripeSet(size_t data, size_t parity_blocks, size_t size, size_t misaligned = 0) : parity(parity_blocks) {
    size_t number = data + parity;
    size_t stride = (size + misaligned + 63) / 64 * 64 + 64;
    memory.resize(number * stride + 64);
    std::mt19937 random(seed);
    auto* base = reinterpret_cast<std::byte*>((reinterpret_cast<uintptr_t>(memory.data()) + 63) / 64 * 64);
    for (size_t i = 0; i < number; ++i) blocks.push_back({base + i * stride + misaligned, size});
    for (size_t i = 0; i < data; ++i)
      for (std::byte& byte : blocks[i]) byte = static_cast<std::byte>(random());
    for (size_t at = 0; at < size; ++at) {
      uint8_t p = 0, q = 0, factor = 1;
      for (size_t i = 0; i < data; ++i) {
        auto value = std::to_integer<uint8_t>(blocks[i][at]);
        p ^= value;
        q ^= times(factor, value);
        factor = times(2, factor);
      }
      blocks[data][at] = std::byte{p};
      if (parity == 2) blocks[data + 1][at] = std::byte{q};
    }
    for (auto block : blocks) good.emplace_back(block.begin(), block.end());
  }
  std::vector<Bytes> data() const { return {blocks.begin(), blocks.end() - static_cast<ptrdiff_t>(parity)}; }
  MutableBytes p() const { return blocks[blocks.size() - parity]; }
  MutableBytes q() const { return parity == 2 ? blocks.back() : MutableBytes{}; }
  void spoil(size_t index) const { std::ranges::fill(blocks[index], std::byte{0xa5}); }
  bool intact() const {
    for (size_t i = 0; i < blocks.size(); ++i)
      if (!std::ranges::equal(blocks[i], good[i])) return false;
    return true;
  }

  size_t parity;
  std::vector<std::byte> memory;
  std::vector<MutableBytes> blocks;
  std::vector<Block> good;
};

TEST(Parity, PAndQOfAKnownVector) {  // BT-095
  // 1 + 2·2 + 4·3 = 1 + 4 + 12 = 9; 80 in place 1: 2·80 = 100 - 11d = 1d; place 2: 4·80 = 3a; place 8: 2^8 =
  // 1d
  std::array<std::byte, 3> d0{std::byte{1}, std::byte{0}, std::byte{0}};
  std::array<std::byte, 3> d1{std::byte{2}, std::byte{0x80}, std::byte{0}};
  std::array<std::byte, 3> d2{std::byte{3}, std::byte{0}, std::byte{0x80}};
  std::array<std::byte, 3> p, q;
  compute_pq(std::array<Bytes, 3>{d0, d1, d2}, p, q);
  EXPECT_EQ(p, (std::array{std::byte{0}, std::byte{0x80}, std::byte{0x80}}));
  EXPECT_EQ(q, (std::array{std::byte{9}, std::byte{0x1d}, std::byte{0x3a}}));
}

TEST(Parity, IsTheDefinitionForAllDiskCountsAndSizes) {  // BT-092
  for (size_t data : {1, 2, 3, 4, 7, 15, 16, 31, 255})
    for (size_t size : {1, 15, 31, 32, 63, 64, 65, 511, 4096})
      for (size_t misaligned : {0, 1, 32}) {
        StripeSet set(data, 2, size, misaligned);
        set.spoil(data);
        set.spoil(data + 1);
        compute_pq(set.data(), set.p(), set.q());
        ASSERT_TRUE(set.intact()) << data << " blocks of " << size << " at " << misaligned;
        set.spoil(data);
        compute_p(set.data(), set.p());
        ASSERT_TRUE(set.intact()) << data << " blocks of " << size << " at " << misaligned;
      }
}

TEST(Parity, AnyOneLostBlockIsRebuilt) {  // BT-095
  for (size_t parity : {1, 2})
    for (size_t disks = parity + 1; disks <= 16; ++disks)
      for (size_t misaligned : {0, 3}) {
        StripeSet set(disks - parity, parity, 192 + disks, misaligned);
        for (size_t lost = 0; lost < disks; ++lost) {
          set.spoil(lost);
          ASSERT_TRUE(recover_stripes(set.blocks, parity, std::array{lost}));
          ASSERT_TRUE(set.intact()) << lost << " of " << disks << " with parity " << parity;
        }
      }
}

TEST(Parity, AnyTwoLostBlocksAreRebuilt) {  // BT-095
  for (size_t disks = 3; disks <= 16; ++disks)
    for (size_t misaligned : {0, 3}) {
      StripeSet set(disks - 2, 2, 192 + disks, misaligned);
      for (size_t one = 0; one < disks; ++one)
        for (size_t two = 0; two < disks; ++two) {
          if (one == two) continue;
          set.spoil(one);
          set.spoil(two);
          ASSERT_TRUE(recover_stripes(set.blocks, 2, std::array{one, two}));
          ASSERT_TRUE(set.intact()) << one << " and " << two << " of " << disks;
        }
    }
}

TEST(Parity, TwoLostBlocksOfTheLargestSetAreRebuilt) {
  StripeSet set(parity_data_max, 2, 64);
  for (auto [one, two] : {std::pair<size_t, size_t>{0, 254}, {253, 254}, {254, 255}, {254, 256}}) {
    set.spoil(one);
    set.spoil(two);
    ASSERT_TRUE(recover_stripes(set.blocks, 2, std::array{one, two}));
    ASSERT_TRUE(set.intact()) << one << " and " << two;
  }
}

TEST(Parity, MoreLossesThanParityAreAnErrorAndChangeNothing) {
  StripeSet raid5(3, 1, 64), raid6(3, 2, 64);
  auto result = recover_stripes(raid5.blocks, 1, std::array<size_t, 2>{0, 1});
  ASSERT_FALSE(result);
  EXPECT_TRUE(result.error().is(err::stripes_lost));
  EXPECT_FALSE(recover_stripes(raid6.blocks, 2, std::array<size_t, 3>{0, 1, 4}));
  EXPECT_TRUE(raid5.intact() && raid6.intact());
}

TEST(Parity, NothingLostChangesNothing) {
  StripeSet set(3, 2, 64);
  EXPECT_TRUE(recover_stripes(set.blocks, 2, {}));
  EXPECT_TRUE(set.intact());
}

TEST(Parity, FollowsAChangeOfOneBlock) {  // BT-095, read-modify-write
  for (size_t parity : {1, 2})
    for (size_t size : {1, 63, 64, 100, 4096})
      for (size_t index : {0, 1, 6}) {
        StripeSet set(7, parity, size, index);
        Block change = set.good[index];
        Block next(size, std::byte{0x3c});
        add_block(change, next);
        std::ranges::copy(next, set.blocks[index].begin());
        add_to_parity(index, change, set.p(), set.q());

        Block p(size), q(size);
        compute_pq(set.data(), p, q);
        EXPECT_TRUE(std::ranges::equal(set.p(), p));
        EXPECT_TRUE(parity == 1 || std::ranges::equal(set.q(), q));
      }
}

}  // namespace
}  // namespace karst::btrfs
