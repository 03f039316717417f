#include "block/faulty_device.h"

#include <algorithm>

namespace karst::block {

FaultyDevice::FaultyDevice(Device& below, FaultPlan plan)
    : below_(below),
      seed_(plan.seed),
      before_(std::move(plan.before)),
      after_(std::move(plan.after)),
      random_(plan.seed) {
  set_faults(plan.faults);
}

void FaultyDevice::set_faults(const std::vector<Fault>& faults) {
  MutexLock lock(mutex_);
  armed_.clear();
  for (const Fault& fault : faults) armed_.push_back({fault, 0});
}

uint64_t FaultyDevice::faults_met() const {
  MutexLock lock(mutex_);
  return faults_met_;
}

std::vector<Fault> FaultyDevice::faults_for(const IoRequest& request) {
  std::vector<Fault> met;
  MutexLock lock(mutex_);
  for (Armed& armed : armed_) {
    const Fault& fault = armed.fault;
    if (fault.op && *fault.op != request.op) continue;
    const bool touches = request.op == IoOp::flush ||
                         (request.offset < fault.end && request.offset + request.length > fault.begin);
    if (!touches) continue;
    const uint64_t number = ++armed.seen;
    if (number < fault.nth || (fault.times != Fault::forever && number - fault.nth >= fault.times)) continue;
    met.push_back(fault);
  }
  if (!met.empty()) ++faults_met_;
  return met;
}

Result<void> FaultyDevice::perform(const IoRequest& request) {
  if (before_) before_(request);
  const std::vector<Fault> faults = faults_for(request);
  uint64_t shift = 0;
  bool torn = false;
  for (const Fault& fault : faults) {
    if (fault.kind == Fault::Kind::error)
      return Error::make(*fault.error_kind, "{} of {} bytes: injected fault", name_of(request.op),
                         request.length)
          .at("device", name())
          .at("offset", request.offset);
    if (fault.kind == Fault::Kind::lost_write && request.op == IoOp::write) return {};
    if (fault.kind == Fault::Kind::torn_write && request.op == IoOp::write) torn = true;
    if (fault.kind == Fault::Kind::misdirected) shift = fault.shift;
  }
  if (torn) return write_torn(request);
  TRY(pass_on(request, shift));
  if (request.op != IoOp::read) return {};
  for (const Fault& fault : faults)
    if (fault.kind == Fault::Kind::flip_bits) flip_bits(request, fault);
  return {};
}

Result<void> FaultyDevice::pass_on(const IoRequest& request, uint64_t shift) {
  IoRequest below = request.again();
  if (shift != 0 && request.op != IoOp::flush && request.length < size())
    below.offset = (request.offset + shift) % (size() - request.length) / block_size() * block_size();
  return below_.resubmit_unaccounted(std::move(below));
}

Result<void> FaultyDevice::write_torn(const IoRequest& request) {
  const uint64_t unit = block_size();
  const uint64_t blocks = (request.length + unit - 1) / unit;
  std::vector<bool> written(blocks);
  {
    MutexLock lock(mutex_);
    for (uint64_t block = 0; block < blocks; ++block) written[block] = random_() % 2 == 0;
    if (blocks > 1 && std::ranges::count(written, written[0]) == static_cast<ptrdiff_t>(blocks))
      written[blocks - 1] = !written[0];  // torn it shall be
  }
  std::vector<iovec> pieces(request.buffers.size());
  for (uint64_t block = 0; block < blocks; ++block) {
    if (!written[block]) continue;
    const uint64_t at = block * unit;
    size_t count = 0;
    const uint64_t length =
        slice_buffers(request.buffers, at, std::min(unit, request.length - at), pieces, count);
    IoRequest part{IoOp::write, request.flags, request.offset + at, length,
                   std::span<const iovec>(pieces).first(count)};
    TRY(pass_on(part, 0));
  }
  return {};
}

// The bits are chosen by their place on the device, so that every read of them sees the same.
void FaultyDevice::flip_bits(const IoRequest& request, const Fault& fault) const {
  const uint64_t begin = fault.begin;
  const uint64_t end = std::min(fault.end, size());
  std::mt19937_64 random(seed_ ^ begin);
  for (unsigned i = 0; i < fault.bits; ++i) {
    const uint64_t place = begin + random() % (end - begin);
    const auto bit = static_cast<std::byte>(1u << (random() % 8));
    if (place < request.offset || place - request.offset >= request.length) continue;
    const uint64_t wanted = place - request.offset;
    for_each_piece(request.buffers, [&](MutableBytes piece, uint64_t position) {
      if (wanted >= position && wanted - position < piece.size()) piece[wanted - position] ^= bit;
    });
  }
}

}  // namespace karst::block
