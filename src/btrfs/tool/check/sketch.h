// Linear sketches: whether two multisets of facts agree, in the memory of one number.
//
// A fact that must have a counterpart (a pointer to an extent and the extent's back reference to it, a
// directory entry and its inode's reference) is hashed with a random key to 128 bits; one side adds the hash,
// the other subtracts it, times how often the fact holds. If every fact has its counterpart, the sum is zero.
// If not, it is zero only if hashes that nobody could know happen to cancel, a chance of about 2^-60 or less.
// Numbers that must add up (an inode's bytes and those of its extents) are sketched the same way: hash(inode)
// times bytes.
//
// One half of a sum is counted modulo the prime 2^61 - 1, the other modulo 2^64. Modulo 2^64 alone, numbers
// that differ in a high bit would be taken for equal: 2^63 times any even hash is zero. Modulo the prime
// alone, numbers that differ by a multiple of it would.
//
// Sums commute, so any number of threads may meet the facts in any order, and they are additive: the sum of a
// subtree is that of its children, whoever shares it. What does not cancel is looked at again, exactly, in
// the buckets that are not zero (BucketSketch).
#pragma once
#include <array>
#include <cstdint>
#include <functional>
#include <string_view>
#include <vector>

namespace karst::btrfs::check {

// What a fact says of its subject; see extent_facts.h and inode_facts.h. Only its identity matters here.
enum class FactKind : uint8_t;

// One fact; `subject` decides the bucket. Names stand in it by their hash (SketchKey::hash_name).
struct Fact {
  FactKind kind{};
  uint64_t subject = 0;
  std::array<uint64_t, 3> words{};
  friend bool operator==(const Fact&, const Fact&) = default;
  friend auto operator<=>(const Fact&, const Fact&) = default;
};

// How often a fact holds, and on which side.
struct Times {
  uint64_t count;
  bool subtracts = false;
  Times(uint64_t times) : count(times) {}
  Times(uint64_t times, bool minus) : count(times), subtracts(minus) {}
};
inline Times minus(uint64_t times) { return {times, true}; }

// A sum in the group of pairs of a number modulo `prime` and one modulo 2^64.
struct Sum {
  static constexpr uint64_t prime = (uint64_t{1} << 61) - 1;
  uint64_t a = 0, b = 0;  // a < prime

  // Of a number below 2^123.
  static uint64_t modulo_prime(unsigned __int128 number) {
    uint64_t folded = (static_cast<uint64_t>(number) & prime) + static_cast<uint64_t>(number >> 61);
    folded = (folded & prime) + (folded >> 61);
    return folded >= prime ? folded - prime : folded;
  }
  void add(const Sum& other) {
    a += other.a;
    if (a >= prime) a -= prime;
    b += other.b;
  }
  void add(const Sum& hash, Times times) {
    uint64_t product = hash.a;  // most facts hold once
    if (times.count != 1)
      product = modulo_prime(static_cast<unsigned __int128>(product) * (times.count % prime));
    if (times.subtracts && product != 0) product = prime - product;
    add({product, times.subtracts ? 0 - hash.b * times.count : hash.b * times.count});
  }
  bool is_zero() const { return (a | b) == 0; }
  friend bool operator==(const Sum&, const Sum&) = default;
};

// The keyed hash. Immutable, shared by all threads of a run.
class SketchKey {
 public:
  // From the system's random numbers, so that no image is made to cancel.
  static SketchKey random();
  // For tests.
  static SketchKey from_seed(uint64_t seed);

  Sum hash(const Fact& fact) const {
    uint64_t x = mix(fact.subject ^ key_[0], fact.words[0] ^ kinds_[static_cast<uint8_t>(fact.kind) % kinds]);
    uint64_t y = mix(fact.words[1] ^ key_[2], fact.words[2] ^ key_[3]);
    return {Sum::modulo_prime(mix(x ^ key_[4], y ^ key_[5])), mix(x ^ key_[6], y ^ key_[7])};
  }
  uint64_t hash_name(std::string_view name) const;
  // Spreads subjects over buckets.
  uint64_t hash_subject(uint64_t subject) const { return mix(subject ^ key_[1], key_[6]); }

 private:
  // The 128-bit product, folded.
  static uint64_t mix(uint64_t a, uint64_t b) {
    auto product = static_cast<unsigned __int128>(a) * b;
    return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
  }
  void fill(const std::function<uint64_t()>& source);

  static constexpr size_t kinds = 32;
  std::array<uint64_t, 8> key_;
  // A word for each kind, so that no difference between two kinds is made up for by one between their words.
  std::array<uint64_t, kinds> kinds_;
};

// A sum for each of 2^16 buckets of subjects. One for each thread, added up at the end.
class BucketSketch {
 public:
  static constexpr uint32_t buckets = 1 << 16;
  BucketSketch() : sums_(buckets) {}

  static uint32_t bucket_of(const SketchKey& key, uint64_t subject) {
    return static_cast<uint32_t>(key.hash_subject(subject) % buckets);
  }
  void add(const SketchKey& key, const Fact& fact, Times times) {
    sums_[bucket_of(key, fact.subject)].add(key.hash(fact), times);
  }
  void add(const BucketSketch& other);
  // The buckets whose facts do not agree: one flag for each, and how many are set.
  struct Dirty {
    std::vector<bool> flags;
    uint32_t count = 0;
  };
  Dirty dirty() const;

 private:
  std::vector<Sum> sums_;
};

}  // namespace karst::btrfs::check
