// RAID5 and RAID6 arithmetic on the blocks of one full stripe.
//
// With data blocks D[0] … D[n-1], in the order of the chunk's logical addresses, and byte by byte:
//   P = D[0] + D[1] + … + D[n-1]
//   Q = D[0] + g·D[1] + … + g^(n-1)·D[n-1]
// in the field of 256 elements with the polynomial x^8+x^4+x^3+x^2+1 (0x11d) and g = 2; adding is xor. Any
// two blocks of D, P, Q follow from the others, for up to 255 data blocks. Source: Linux lib/raid6; H. P.
// Anvin, "The mathematics of RAID-6".
//
// Every lost block is a sum of the surviving ones, each times a constant; isa-l computes such sums with what
// the processor has. The constants are solved for here.
//
// Blocks of one call have the same size, any size, and do not overlap (verified: sizes, counts, indexes).
// Fastest when they are aligned to 32 bytes. Thread-safe: pure functions; no allocation.
#pragma once
#include <cstdint>
#include <span>

#include "core/bytes.h"
#include "core/result.h"

namespace karst::btrfs {

constexpr size_t parity_data_max = 255;

namespace err {
extern const ErrorKind stripes_lost;  // more blocks are missing than there is parity; child of io
}  // namespace err

// Writes P over its old content. At least one data block.
void compute_p(std::span<const Bytes> data, MutableBytes p);
// Writes P and Q.
void compute_pq(std::span<const Bytes> data, MutableBytes p, MutableBytes q);

// For writes of part of a stripe: takes the change of data block `index`, old xor new, into the parity.
// Adding old content alone takes a block out, adding new content alone puts it in. An empty q: RAID5.
void add_to_parity(size_t index, Bytes change, MutableBytes p, MutableBytes q);
// change ^= other
void add_block(MutableBytes change, Bytes other);

// blocks: all data, then P, then Q if parity is 2. Rebuilds those at the missing indexes, whose content
// does not matter, from the others. More missing than parity is err::stripes_lost and changes nothing.
Result<void> recover_stripes(std::span<const MutableBytes> blocks, size_t parity,
                             std::span<const size_t> missing);

}  // namespace karst::btrfs
