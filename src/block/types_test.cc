// What must not compile. Each is a concept that says whether an expression is well-formed.
#include <gtest/gtest.h>

#include "block/device.h"

namespace karst::block {
namespace {

template <typename A, typename B>
concept can_be_or_ed = requires(A a, B b) {
  a | b;
};
template <typename From, typename To>
concept converts = std::is_convertible_v<From, To>;

// CO-012: an operation is no flag, a flag is no operation, and neither is a number.
static_assert(!converts<IoOp, IoFlags> && !converts<IoFlags, IoOp>);
static_assert(!converts<int, IoOp> && !converts<int, IoFlags> && !converts<IoFlags, int>);
static_assert(!can_be_or_ed<IoOp, IoFlags> && !can_be_or_ed<IoOp, IoOp> && can_be_or_ed<IoFlags, IoFlags>);

// CO-012: the operation is in the request and not beside it.
template <typename... Arguments>
concept can_be_run = requires(Device& device, IoRequest request, Arguments... arguments) {
  device.run(std::move(request), arguments...);
};
static_assert(can_be_run<> && !can_be_run<IoOp> && !can_be_run<IoOp, IoFlags>);

// CO-012: a discard is a range and flags: no data, and no operation of its caller's choice.
template <typename Last>
concept can_be_discarded = requires(Device& device, Last last) {
  device.discard(0, 4096, last);
};
static_assert(can_be_discarded<IoFlags> && !can_be_discarded<IoOp> && !can_be_discarded<Bytes>);

// CO-011: reading needs a destination that may be written to; writing a source, which it leaves alone.
template <typename Buffer>
concept can_be_read_into = requires(Device& device, Buffer buffer) {
  device.read(0, buffer);
};
template <typename Buffer>
concept can_be_written_from = requires(Device& device, Buffer buffer) {
  device.write(0, buffer);
};
static_assert(can_be_read_into<MutableBytes> && !can_be_read_into<Bytes>);
static_assert(can_be_written_from<Bytes>);

// CO-014: what came of a request is neither a number nor a count of bytes, and there is none before it is
// done.
static_assert(!converts<int, decltype(IoRequest::outcome)>);
static_assert(!converts<uint64_t, decltype(IoRequest::outcome)>);
TEST(IoRequestTest, HasNoOutcomeBeforeItIsDone) { EXPECT_FALSE(IoRequest{}.done()); }

// TH-017: one predicate says which requests need what came before on stable storage.
TEST(Requests, OnePredicateSaysWhatMakesStable_TH017) {
  for (const IoOp op : {IoOp::read, IoOp::write, IoOp::flush, IoOp::discard, IoOp::write_zeroes})
    for (const IoFlags flags :
         {IoFlags::none, IoFlags::nowait, IoFlags::fua, IoFlags::fua | IoFlags::nowait}) {
      const bool expected = op == IoOp::flush || (op != IoOp::read && has(flags, IoFlags::fua));
      EXPECT_EQ(makes_stable({.op = op, .flags = flags}), expected) << name_of(op);
    }
}

}  // namespace
}  // namespace karst::block
