#include "btrfs/volume/parity.h"

#include <isa-l/erasure_code.h>
#include <isa-l/raid.h>

#include "core/assert.h"

namespace karst::btrfs {

namespace err {
const ErrorKind stripes_lost{"stripes-lost", &karst::err::io, EIO};
}  // namespace err

namespace {

constexpr size_t blocks_max = parity_data_max + 2;
constexpr size_t table_size = 32;  // what isa-l makes of one constant

// g^0 … g^254
constexpr auto powers = [] {
  std::array<uint8_t, 255> table{};
  unsigned value = 1;
  for (uint8_t& entry : table) {
    entry = static_cast<uint8_t>(value);
    value <<= 1;
    if (value & 0x100) value ^= 0x11d;
  }
  return table;
}();
uint8_t power(size_t exponent) { return powers[exponent]; }

unsigned char* isal(const std::byte* bytes) {
  return reinterpret_cast<unsigned char*>(const_cast<std::byte*>(bytes));  // sources are only read
}

// Sums of blocks times constants: one row of constants for each target.
class Sums {
 public:
  void add_source(const std::byte* block, uint8_t constant, uint8_t constant_of_second = 0) {
    sources_[count_] = isal(block);
    constants_[0][count_] = constant;
    constants_[1][count_++] = constant_of_second;
  }
  void write(MutableBytes first, MutableBytes second = {}) {
    if (first.empty()) return;
    int rows = second.empty() ? 1 : 2;
    if (rows == 1 && is_xor(first)) return;
    unsigned char* targets[2] = {isal(first.data()), isal(second.data())};
    unsigned char tables[2 * blocks_max * table_size];
    for (int row = 0; row < rows; ++row)
      ec_init_tables(static_cast<int>(count_), 1, constants_[row], tables + row * count_ * table_size);
    ec_encode_data(static_cast<int>(first.size()), static_cast<int>(count_), rows, tables, sources_, targets);
  }

 private:
  // A plain xor is faster without constants, if isa-l takes the addresses.
  bool is_xor(MutableBytes target) {
    if (count_ < 2) return false;
    uintptr_t addresses = reinterpret_cast<uintptr_t>(target.data());
    for (size_t i = 0; i < count_; ++i) {
      if (constants_[0][i] != 1) return false;
      addresses |= reinterpret_cast<uintptr_t>(sources_[i]);
    }
    if (addresses % 32 != 0) return false;
    sources_[count_] = isal(target.data());
    return xor_gen(static_cast<int>(count_ + 1), static_cast<int>(target.size()),
                   reinterpret_cast<void**>(sources_)) == 0;
  }

  size_t count_ = 0;
  unsigned char* sources_[blocks_max + 1];
  uint8_t constants_[2][blocks_max];
};

// isa-l's own P and Q, four and more times as fast as sums, if it takes the addresses.
bool isal_pq(std::span<const Bytes> data, MutableBytes p, MutableBytes q) {
  if (data.size() < 2 || p.size() % 32 != 0 || p.empty()) return false;
  void* blocks[blocks_max];
  uintptr_t addresses = reinterpret_cast<uintptr_t>(p.data()) | reinterpret_cast<uintptr_t>(q.data());
  for (size_t i = 0; i < data.size(); ++i) {
    blocks[i] = isal(data[i].data());
    addresses |= reinterpret_cast<uintptr_t>(blocks[i]);
  }
  if (addresses % 32 != 0) return false;
  blocks[data.size()] = p.data();
  blocks[data.size() + 1] = q.data();
  return pq_gen(static_cast<int>(data.size() + 2), static_cast<int>(p.size()), blocks) == 0;
}

void verify_sizes(std::span<const Bytes> data, size_t size) {
  VERIFY(!data.empty() && data.size() <= parity_data_max && size <= INT32_MAX);
  for (Bytes block : data) VERIFY(block.size() == size);
}

// Any one lost block, and the loss of P with a data block, by P's or Q's equation; two data blocks by both.
// The missing ones are ascending.
struct Recovery {
  std::span<const MutableBytes> blocks;
  size_t parity;
  size_t data = blocks.size() - parity;

  const std::byte* p() const { return blocks[data].data(); }
  const std::byte* q() const { return blocks[data + 1].data(); }
  bool is_data(size_t index) const { return index < data; }

  // A function of data indexes gives the constants of the surviving data blocks.
  template <typename F>
  Sums sums_without(size_t first, size_t second, F&& constants) const {
    Sums sums;
    for (size_t i = 0; i < data; ++i)
      if (i != first && i != second) {
        auto [one, two] = constants(i);
        sums.add_source(blocks[i].data(), one, two);
      }
    return sums;
  }
  using Pair = std::pair<uint8_t, uint8_t>;

  void one_data(size_t x) const {  // P - (the others)
    Sums sums = sums_without(x, x, [](size_t) { return Pair{1, 0}; });
    sums.add_source(p(), 1);
    sums.write(blocks[x]);
  }

  void parity_only(bool lost_p, bool lost_q) const {
    if (!lost_q) return sums_without(data, data, [](size_t) { return Pair{1, 0}; }).write(blocks[data]);
    if (!lost_p)
      return sums_without(data, data, [](size_t i) { return Pair{power(i), 0}; }).write(blocks[data + 1]);
    std::array<Bytes, parity_data_max> sources;
    std::copy_n(blocks.begin(), data, sources.begin());
    compute_pq(std::span(sources).first(data), blocks[data], blocks[data + 1]);
  }

  // D[x] = g^-x·(Q - its other terms); P = D[x] + the others.
  void data_and_p(size_t x) const {
    uint8_t inverse = gf_inv(power(x));
    Sums sums = sums_without(x, x, [&](size_t i) {
      uint8_t constant = gf_mul(inverse, power(i));
      return Pair{constant, constant ^ 1};
    });
    sums.add_source(q(), inverse, inverse);
    sums.write(blocks[x], blocks[data]);
  }

  // D[x] = P - (the others); Q = g^x·D[x] + its other terms.
  void data_and_q(size_t x) const {
    uint8_t factor = power(x);
    Sums sums = sums_without(x, x, [&](size_t i) { return Pair{1, factor ^ power(i)}; });
    sums.add_source(p(), 1, factor);
    sums.write(blocks[x], blocks[data + 1]);
  }

  // With S = P - (the others), T = Q - (its other terms): D[x] + D[y] = S, g^x·D[x] + g^y·D[y] = T, so
  // D[x] = (g^y·S + T) / (g^x + g^y), and D[y] = S + D[x].
  void two_data(size_t x, size_t y) const {
    uint8_t divisor = gf_inv(power(x) ^ power(y));
    uint8_t of_s = gf_mul(power(y), divisor), of_t = divisor;
    Sums sums = sums_without(x, y, [&](size_t i) {
      uint8_t constant = of_s ^ gf_mul(of_t, power(i));
      return Pair{constant, constant ^ 1};
    });
    sums.add_source(p(), of_s, of_s ^ 1);
    sums.add_source(q(), of_t, of_t);
    sums.write(blocks[x], blocks[y]);
  }
};

}  // namespace

void compute_p(std::span<const Bytes> data, MutableBytes p) {
  verify_sizes(data, p.size());
  Sums sums;
  for (Bytes block : data) sums.add_source(block.data(), 1);
  sums.write(p);
}

void compute_pq(std::span<const Bytes> data, MutableBytes p, MutableBytes q) {
  verify_sizes(data, p.size());
  VERIFY(p.size() == q.size());
  if (isal_pq(data, p, q)) return;
  Sums sums;
  for (size_t i = 0; i < data.size(); ++i) sums.add_source(data[i].data(), 1, power(i));
  sums.write(p, q);
}

void add_block(MutableBytes change, Bytes other) {
  VERIFY(change.size() == other.size());
  using Chunk = uint64_t __attribute__((vector_size(64)));
  size_t done = 0;
  for (; change.size() - done >= sizeof(Chunk); done += sizeof(Chunk)) {
    Chunk one, two;
    std::memcpy(&one, change.data() + done, sizeof one);
    std::memcpy(&two, other.data() + done, sizeof two);
    one ^= two;
    std::memcpy(change.data() + done, &one, sizeof one);
  }
  for (; done < change.size(); ++done) change[done] ^= other[done];
}

void add_to_parity(size_t index, Bytes change, MutableBytes p, MutableBytes q) {
  VERIFY(index < parity_data_max && change.size() <= INT32_MAX);
  add_block(p, change);
  if (q.empty()) return;
  VERIFY(change.size() == q.size());
  uint8_t constant = power(index);
  unsigned char table[table_size];
  ec_init_tables(1, 1, &constant, table);
  unsigned char* target = isal(q.data());
  ec_encode_data_update(static_cast<int>(q.size()), 1, 1, 0, table, isal(change.data()), &target);
}

Result<void> recover_stripes(std::span<const MutableBytes> blocks, size_t parity,
                             std::span<const size_t> missing) {
  VERIFY((parity == 1 || parity == 2) && blocks.size() > parity && blocks.size() - parity <= parity_data_max);
  for (MutableBytes block : blocks) VERIFY(block.size() == blocks[0].size() && block.size() <= INT32_MAX);
  for (size_t i = 0; i < missing.size(); ++i) {
    VERIFY(missing[i] < blocks.size());
    for (size_t j = 0; j < i; ++j) VERIFY(missing[i] != missing[j]);
  }
  if (missing.size() > parity)
    return Error::make(err::stripes_lost, "{} of {} stripes are lost, and there is parity for {}",
                       missing.size(), blocks.size(), parity);
  if (missing.empty()) return {};

  Recovery recovery{blocks, parity};
  size_t first = std::ranges::min(missing), second = std::ranges::max(missing), p = recovery.data;
  if (!recovery.is_data(first))
    recovery.parity_only(first == p, second > p);
  else if (first == second)
    recovery.one_data(first);
  else if (recovery.is_data(second))
    recovery.two_data(first, second);
  else if (second == p)
    recovery.data_and_p(first);
  else
    recovery.data_and_q(first);
  return {};
}

}  // namespace karst::btrfs
