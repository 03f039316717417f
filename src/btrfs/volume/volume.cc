#include "btrfs/volume/volume.h"

#include <cstring>

#include "btrfs/format/check.h"
#include "btrfs/volume/parity.h"

namespace karst::btrfs {
namespace err {
const ErrorKind device_missing{"device-missing", &karst::err::io, EIO};
const ErrorKind device_foreign{"device-foreign", &karst::err::invalid, EINVAL};
}  // namespace err

namespace {

// A superblock copy that passed its checks, and the device it is on.
struct FoundSuper {
  Superblock super;
  int mirror;
};

// `super` has what was read also where that is not valid.
Result<void> read_superblock(block::Device& device, int mirror, Superblock& super, bool any_checksum) {
  uint64_t offset = superblock_mirror_offset(mirror);
  if (offset > device.size() || device.size() - offset < superblock_size)
    return Error(err::super_magic, "device is too small for this superblock copy")
        .at("device", device.name())
        .at("superblock", mirror);
  MutableBytes bytes{reinterpret_cast<std::byte*>(&super), sizeof super};
  TRY(device.read(offset, bytes));
  auto checked = check_superblock(super, offset);
  if (!checked && any_checksum && checked.error().is(err::super_checksum)) {
    const ChecksumType type = TRY(checksum_type_of(super.csum_type));
    const Checksum sum = compute_checksum(type, Bytes(bytes).subspan(checksum_field_size));
    std::memcpy(super.checksum, sum.bytes.data(), sizeof super.checksum);
    checked = check_superblock(super, offset);
  }
  if (!checked) return std::move(checked).error().at("device", device.name()).at("superblock", mirror);
  return {};
}

// The copy asked for, or the first good one; the first copy's error if none is good.
Result<FoundSuper> find_superblock(block::Device& device, std::optional<int> mirror, const Logger& log,
                                   bool any_checksum = false) {
  FoundSuper found{};
  if (mirror) {
    found.mirror = *mirror;
    TRY(read_superblock(device, *mirror, found.super, any_checksum));
    return found;
  }
  std::optional<Error> first_error;
  for (int candidate = 0; candidate < superblock_mirrors; ++candidate) {
    found.mirror = candidate;
    auto read = read_superblock(device, candidate, found.super, any_checksum);
    if (read) {
      if (first_error)
        log.warning("using another copy of the superblock", {{"superblock", candidate}}, &*first_error);
      return found;
    }
    // What an unknown feature says of the first copy holds for all of them. Not so an unknown checksum: where
    // none can be compared, that may as well be damage.
    if (read.error().is(err::super_unsupported) && checksum_type_of(found.super.csum_type))
      return std::move(read).error();
    if (!first_error) first_error = std::move(read).error();
  }
  return std::move(*first_error);
}

}  // namespace

Volume::Volume(const Logger& log) : log_(log) {}
Volume::~Volume() = default;

Result<std::unique_ptr<Volume>> Volume::open(std::vector<std::unique_ptr<block::Device>> devices,
                                             const VolumeOptions& options, const Logger& log) {
  if (devices.empty()) return Error(karst::err::invalid, "no device given");
  std::unique_ptr<Volume> volume(new Volume(log));
  volume->devices_ = std::move(devices);
  for (auto& device : volume->devices_) {
    auto searched = find_superblock(*device, options.super_mirror, log);
    if (!searched && options.any_super_checksum)
      searched = find_superblock(*device, options.super_mirror, log, true);
    if (!searched && options.skip_bad_devices && volume->devices_.size() > 1) {
      log.warning("a device is left out: it has no good superblock", {{"device", device->name()}},
                  &searched.error());
      continue;
    }
    const FoundSuper found = TRY(std::move(searched));
    const DevItem& item = found.super.dev_item;
    for (const MemberDevice& other : volume->members_)
      if (other.devid == item.devid && other.uuid == item.uuid)
        return Error(karst::err::invalid, "the same member device is given twice")
            .at("device", device->name())
            .at("devid", item.devid)
            .at("first", other.device->name());
    volume->members_.push_back({device.get(), item.devid, item.uuid, found.super});
  }

  if (volume->members_.empty()) return Error(err::super_magic, "no device has a good superblock");
  const Uuid fsid = volume->members_.front().super.fsid;
  const MemberDevice* newest = &volume->members_.front();
  for (const MemberDevice& member : volume->members_) {
    bool seed = (member.super.flags & super_flag::seeding) != 0;
    if (member.super.fsid != fsid && !seed)
      return Error(err::device_foreign, "device belongs to another file system")
          .expected(fsid, member.super.fsid)
          .at("device", member.device->name());
    if (member.super.fsid == fsid && member.super.generation > newest->super.generation) newest = &member;
  }
  volume->super_ = &newest->super;
  volume->geometry_ = geometry_of(newest->super);
  for (const MemberDevice& member : volume->members_)
    if (member.super.fsid != fsid) volume->geometry_.seed_uuids.push_back(metadata_fsid(member.super));
  for (const SystemChunk& chunk : TRY(system_chunks(newest->super)))
    TRY(volume->chunks_.add(chunk.logical, chunk.item));
  return volume;
}

const MemberDevice* Volume::member(uint64_t devid) const {
  for (const MemberDevice& member : members_)
    if (member.devid == devid) return &member;
  return nullptr;
}

const MemberDevice* Volume::member(uint64_t devid, const Uuid& uuid) const {
  for (const MemberDevice& member : members_)
    if (member.devid == devid && member.uuid == uuid) return &member;
  return nullptr;
}

uint64_t Volume::device_bytes() const {
  uint64_t sum = 0;
  for (const MemberDevice& member : members_) sum += member.device->size();
  return sum;
}

Result<int> Volume::copies(Logical address) const { return TRY(chunks_.find(raw(address)))->copies(); }

int Volume::first_copy(const ChunkEntry& chunk, uint64_t address) const {
  if (chunk.is_parity()) return 0;
  int copies = chunk.copies();
  if (copies == 1) return 0;
  // Neighbouring addresses stay on one device, so that its readahead works; megabytes alternate.
  int start = static_cast<int>((address >> 20) % static_cast<unsigned>(copies));
  for (int i = 0; i < copies; ++i) {
    int copy = (start + i) % copies;
    if (member_of(chunk.stripes[map_run(chunk, address, 1, copy).stripe])) return copy;
  }
  return 0;
}

Result<void> Volume::read_stripe(const ChunkEntry& chunk, const StripeRun& run,
                                 MutableBytes destination) const {
  const ChunkStripe& stripe = chunk.stripes[run.stripe];
  const MemberDevice* member = member_of(stripe);
  if (!member) return Error(err::device_missing, "member device is missing").at("devid", stripe.devid);
  return member->device->read(run.offset, destination.first(run.length));
}

// The lost stripes are those the copy's definition names, then those whose device is missing or fails;
// more of them than parity stripes is an error.
Result<void> Volume::rebuild(const ChunkEntry& chunk, const StripeRun& run, MutableBytes destination,
                             int copy) const {
  auto blocks = static_cast<uint32_t>(chunk.stripes.size());
  uint32_t data = chunk.data_stripes();
  if (data > parity_data_max)
    return Error(karst::err::unsupported, "chunk has more stripes than parity can be computed for")
        .at("stripes", blocks);
  std::vector<size_t> lost{run.data_index};
  if (copy == 2) lost.push_back(data);
  if (copy >= 3) {
    uint32_t other = static_cast<uint32_t>(copy) - 3;
    lost.push_back(other < run.data_index ? other : other + 1);
  }
  uint64_t within = run.offset - row_offset(chunk, run.stripe, run.row);
  std::vector<std::byte> buffer(run.length * blocks);
  std::vector<MutableBytes> spans;
  for (uint32_t k = 0; k < blocks; ++k)
    spans.push_back(MutableBytes(buffer).subspan(k * run.length, run.length));
  for (uint32_t k = 0; k < blocks; ++k) {
    if (std::find(lost.begin(), lost.end(), size_t{k}) != lost.end()) continue;
    uint32_t stripe = row_stripe(chunk, run.row, k);
    auto read = read_stripe(
        chunk, {stripe, row_offset(chunk, stripe, run.row) + within, run.length, run.row, k}, spans[k]);
    if (read) continue;
    lost.push_back(k);
    if (lost.size() > chunk.profile->parity)
      return std::move(read).error().while_doing("rebuilding a stripe with too many lost");
  }
  TRY(recover_stripes(spans, chunk.profile->parity, lost));
  std::copy_n(spans[run.data_index].begin(), run.length, destination.begin());
  return {};
}

Result<void> Volume::read_copy(Logical address, MutableBytes destination, int copy) const {
  uint64_t at = raw(address);
  while (!destination.empty()) {
    const ChunkEntry& chunk = *TRY(chunks_.find(at));
    if (copy >= chunk.copies())
      return Error(karst::err::invalid, "no such copy").at("logical", at).at("copy", copy);
    StripeRun run = map_run(chunk, at, destination.size(), chunk.is_parity() ? 0 : copy);
    auto done = is_rebuilt(chunk, run, copy) ? rebuild(chunk, run, destination, copy)
                                             : read_stripe(chunk, run, destination);
    if (!done) return std::move(done).error().at("logical", at).at("copy", copy);
    destination = destination.subspan(run.length);
    at += run.length;
  }
  return {};
}

// Splits a request into runs of one device, and into parts that are read one after the other afterwards:
// those that are rebuilt, and those whose device or copy is not there, for the error that this gives.
void Volume::plan(ReadRequest& request, Batch& batch) const {
  uint64_t at = raw(request.address);
  MutableBytes rest = request.destination;
  while (!rest.empty()) {
    auto chunk = chunks_.find(at);
    if (!chunk || request.copy >= (*chunk)->copies()) {
      batch.apart.push_back({&request, Logical(at), rest});
      return;
    }
    const StripeRun run = map_run(**chunk, at, rest.size(), (*chunk)->is_parity() ? 0 : request.copy);
    const MutableBytes part = rest.first(run.length);
    const MemberDevice* member = member_of((*chunk)->stripes[run.stripe]);
    if (!member || is_rebuilt(**chunk, run, request.copy))
      batch.apart.push_back({&request, Logical(at), part});
    else
      batch.pieces.push_back({&request, member->device, run.offset, {part.data(), part.size()}, {}});
    rest = rest.subspan(run.length);
    at += run.length;
  }
}

void Volume::read_batch(block::Queue& queue, std::span<ReadRequest> requests) const {
  if (requests.size() == 1) {
    ReadRequest& only = requests.front();
    only.outcome = read_copy(only.address, only.destination, only.copy);
    return;
  }
  Batch batch;
  for (ReadRequest& request : requests) {
    request.outcome.emplace();
    plan(request, batch);
  }
  // While any is in flight nothing is allocated, and nothing else done: they refer to the pieces, and to
  // memory of the caller's.
  for (Piece& piece : batch.pieces) {
    piece.io.op = block::IoOp::read;
    piece.io.offset = piece.offset;
    piece.io.length = piece.buffer.iov_len;
    piece.io.buffers = {&piece.buffer, 1};
    queue.submit(*piece.device, piece.io);
  }
  while (queue.reap()) {
  }
  for (Piece& piece : batch.pieces)
    if (ReadRequest& request = *piece.request; !*piece.io.outcome && *request.outcome)
      request.outcome =
          std::move(*piece.io.outcome).error().at("logical", request.address).at("copy", request.copy);
  for (const Apart& part : batch.apart)
    if (ReadRequest& request = *part.request; *request.outcome)
      request.outcome = read_copy(part.address, part.destination, request.copy);
}

Result<void> Volume::read_verified(Logical address, MutableBytes destination,
                                   FunctionRef<Result<void>()> verify) const {
  const ChunkEntry& chunk = *TRY(chunks_.find(raw(address)));
  int first = first_copy(chunk, raw(address));
  auto attempt = [&]() -> Result<void> {
    TRY(read_copy(address, destination, first));
    return verify();
  }();
  if (attempt) return {};
  return read_other_copies(address, destination, first, std::move(attempt).error(), verify);
}

Result<void> Volume::read_other_copies(Logical address, MutableBytes destination, int first, Error reason,
                                       FunctionRef<Result<void>()> verify) const {
  int copies = TRY(chunks_.find(raw(address)))->copies();
  for (int copy = 0; copy < copies; ++copy) {
    if (copy == first) continue;
    auto attempt = read_copy(address, destination, copy);
    if (attempt) attempt = verify();
    bad_copies_.fetch_add(1, std::memory_order_relaxed);
    if (attempt) {
      log_.warning("a copy is bad, using another", {{"bad copy", first}, {"good copy", copy}}, &reason);
      return {};
    }
    log_.warning("a copy is bad", {{"bad copy", copy}}, &attempt.error());
  }
  bad_copies_.fetch_add(1, std::memory_order_relaxed);
  if (copies > 1) return std::move(reason).while_doing(fmt::format("none of {} copies is good", copies));
  return reason;
}

uint64_t Volume::reachable_length(Logical address, uint64_t length) const {
  auto found = chunks_.find(raw(address));
  if (!found) return 0;
  const ChunkEntry& chunk = **found;
  // Any stripe will do: whether those that are there are enough is for reading to find out.
  uint64_t rows = 0;
  for (const ChunkStripe& stripe : chunk.stripes) {
    const MemberDevice* member = member_of(stripe);
    if (!member || stripe.offset >= member->device->size()) continue;
    rows = std::max(rows, std::min(member->device->size() - stripe.offset, chunk.length));
  }
  rows = (rows + stripe_length - 1) / stripe_length;
  uint64_t mapped = std::min(rows * stripe_length * chunk.data_stripes(), chunk.length);
  uint64_t offset = raw(address) - chunk.logical;
  return offset < mapped ? std::min(length, mapped - offset) : 0;
}

void Volume::will_read(Logical address, uint64_t length) const {
  uint64_t at = raw(address);
  while (length > 0) {
    auto chunk = chunks_.find(at);
    if (!chunk) return;
    StripeRun run = map_run(**chunk, at, length, (*chunk)->is_parity() ? 0 : first_copy(**chunk, at));
    if (const MemberDevice* member = member_of((*chunk)->stripes[run.stripe]))
      member->device->will_read(run.offset, run.length);
    at += run.length;
    length -= run.length;
  }
}

}  // namespace karst::btrfs
