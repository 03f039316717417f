// The idea: an ordered pair of classes (outer, inner) needs to be looked at once. Each thread keeps what it
// holds and a small table of pairs it has met, so that the usual acquisition touches nothing shared. A pair
// not in the table takes the graph's mutex; if it is not in the graph either, a search from inner for outer
// decides between a new edge and a report. A pair that was reported is remembered and left out of the graph,
// so that one mistake is one report.
#include "core/lock_order.h"

#ifdef KARST_DEBUG

#include <execinfo.h>
#include <fmt/format.h>
#include <pthread.h>

#include <array>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "core/assert.h"
#include "core/symbolize.h"

namespace karst::lock_order {
namespace {

constexpr LockClass shrinker_class{"cache shrinker"};
constexpr uint16_t no_node = 0xffff;

struct Stack {
  std::array<void*, 16> frames;
  int depth = 0;
  bool sampled = false;  // of an earlier acquisition by this thread from the same line

  static Stack here() {
    Stack stack;
    stack.depth = backtrace(stack.frames.data(), static_cast<int>(stack.frames.size()));
    return stack;
  }
};

struct Held {
  const void* lock;
  const LockClass* lock_class;
  uint16_t node;
  LockLevel level;
  Mode mode;
  Site site;
  Stack stack;
};

using ThreadName = std::array<char, 16>;

struct Edge {
  uint16_t outer, inner;
  Site outer_site, inner_site;
  Stack outer_stack, inner_stack;
  ThreadName thread;
};

struct Node {
  std::string name;  // the class's, with the level if there is one
  std::vector<const Edge*> inner;
};

constexpr uint32_t edge_key(uint16_t outer, uint16_t inner) { return uint32_t{outer} << 16 | inner; }

struct Graph {
  std::mutex mutex;
  std::vector<Node> nodes;
  std::unordered_map<std::string, uint16_t> node_ids;
  std::unordered_map<uint32_t, std::unique_ptr<Edge>> edges;  // null: reported, not part of the graph
  std::unordered_set<size_t> reported;                        // other reports, by kind and place
  Handler handler;
  bool full_reported = false;
  std::atomic<bool> exact_stacks{false};
  std::atomic<uint64_t> epoch{0};
  std::atomic<uint64_t> slow_lookups{0};
};

// Never destroyed: locks are taken during static destruction too.
Graph& graph() {
  static Graph& instance = *new Graph;
  return instance;
}

thread_local bool thread_is_gone = false;  // outlives Thread, having no destructor

struct Thread {
  struct KnownNode {
    const LockClass* lock_class = nullptr;
    LockLevel level{};
    uint16_t node = 0;
  };
  struct KnownSite {
    const char* file = nullptr;
    int line = 0;
    uint16_t node = 0;
    uint32_t count = 0;
    Stack stack;
  };

  std::vector<Held> held;
  std::unique_ptr<KnownNode[]> known_nodes{new KnownNode[128]};
  std::unique_ptr<KnownSite[]> known_sites{new KnownSite[256]};
  std::unique_ptr<uint64_t[]> known_edges{new uint64_t[2048]()};  // edge_key + 1
  uint64_t epoch = 0;
  bool suspended = false;

  Thread() { held.reserve(16); }
  ~Thread();

  uint16_t node_of(const LockClass& lock_class, LockLevel level);
  Stack stack_at(Site site, uint16_t node);
  const Held* find(const void* lock) const {
    for (auto it = held.rbegin(); it != held.rend(); ++it)
      if (it->lock == lock) return &*it;
    return nullptr;
  }
  void check_recursion(const void* lock, Site site);
  void check_blocking(const std::string& what, uint16_t node, Site site);
  void check_nesting(const void* lock, const LockClass& lock_class, LockLevel level, Site site);
  void check_order(uint16_t node, Site site);
  void check(const void* lock, const LockClass& lock_class, LockLevel level, Site site);
  void deliver(Report report);
  void report_once(ReportKind kind, size_t what, Site site, const std::function<std::string()>& text);
};

// The thread's state; nullptr while it reports and after it has ended.
Thread* current() {
  if (thread_is_gone) return nullptr;
  thread_local Thread thread;
  return thread.suspended ? nullptr : &thread;
}

ThreadName thread_name() {
  ThreadName name{};
  pthread_getname_np(pthread_self(), name.data(), name.size());
  return name;
}

std::string class_text(const LockClass& lock_class, LockLevel level) {
  std::string text = lock_class.name;
  if (level != LockLevel{}) text += fmt::format("/{}", static_cast<unsigned>(level));
  return text;
}

std::string text_of(Site site) { return fmt::format("{}:{} in {}()", site.file, site.line, site.function); }

std::string text_of(const Stack& stack, Symbolizer& symbolizer) {
  std::string text;
  bool inside = true;  // leave out our own frames at the top
  for (int i = 0; i < stack.depth; ++i) {
    std::string frame = symbolizer.describe(stack.frames[static_cast<size_t>(i)]);
    inside =
        inside && (frame.find("karst::lock_order::") != frame.npos || frame.find("Mutex::") != frame.npos ||
                   frame.find("Lock::") != frame.npos || frame.find("backtrace") != frame.npos);
    if (!inside) text += "         " + frame + "\n";
  }
  return text;
}

std::string held_text(const std::vector<Held>& held) {
  std::string text;
  for (size_t i = held.size(); i-- > 0;)
    text += fmt::format("  ({}){} at {}\n", class_text(*held[i].lock_class, held[i].level),
                        held[i].mode == Mode::shared ? " for reading" : "", text_of(held[i].site));
  return text.empty() ? "  nothing\n" : text;
}

std::string heading(const char* what) {
  return fmt::format("karst: lock order: {}\nthread \"{}\" ", what, thread_name().data());
}

// The edges of a shortest path from one node to another; empty if there is none. Needs the graph's mutex.
std::vector<const Edge*> path_between(const Graph& all, uint16_t from, uint16_t to) {
  std::vector<const Edge*> came_by(all.nodes.size(), nullptr);
  std::vector<uint16_t> queue{from};
  for (size_t i = 0; i < queue.size(); ++i) {
    for (const Edge* edge : all.nodes[queue[i]].inner) {
      if (came_by[edge->inner] || edge->inner == from) continue;
      came_by[edge->inner] = edge;
      queue.push_back(edge->inner);
    }
  }
  std::vector<const Edge*> path;
  if (!came_by[to]) return path;
  for (uint16_t at = to; at != from; at = came_by[at]->outer) path.insert(path.begin(), came_by[at]);
  return path;
}

void append_edge(std::string& text, size_t number, const Graph& all, const Edge& edge,
                 Symbolizer& symbolizer) {
  const std::string& outer = all.nodes[edge.outer].name;
  const std::string& inner = all.nodes[edge.inner].name;
  text += fmt::format("-> #{} ({}) taken by thread \"{}\" at {}\n", number, inner, edge.thread.data(),
                      text_of(edge.inner_site));
  text += text_of(edge.inner_stack, symbolizer);
  text += fmt::format("     while it held ({}), taken at {}{}\n", outer, text_of(edge.outer_site),
                      edge.outer_stack.sampled ? " (the stack is of an earlier time)" : "");
  text += text_of(edge.outer_stack, symbolizer) + "\n";
}

// The report of seed 000: what is being taken, what is held, and the chain back from the one to the other.
// path leads from the new lock to the held one.
Report cycle_report(const Graph& all, const Edge& closing, const std::vector<const Edge*>& path,
                    const std::vector<Held>& held) {
  Symbolizer symbolizer;
  const std::string& inner = all.nodes[closing.inner].name;
  const std::string& outer = all.nodes[closing.outer].name;
  Report report{ReportKind::cycle, heading("possible deadlock, circular dependency"), {}};
  std::string& text = report.text;
  text += fmt::format("is trying to take\n  ({}) at {}\nwhile it already holds\n{}", inner,
                      text_of(closing.inner_site), held_text(held));
  text += fmt::format("and ({}) already depends on ({}).\n\nThe chain of dependencies, in reverse order:\n\n",
                      outer, inner);
  for (size_t i = path.size(); i-- > 0;) append_edge(text, i + 1, all, *path[i], symbolizer);
  append_edge(text, 0, all, closing, symbolizer);

  report.chain.push_back(inner);
  for (const Edge* edge : path) report.chain.push_back(all.nodes[edge->inner].name);
  report.chain.push_back(inner);
  text += fmt::format("Chain: {}\n\n", fmt::join(report.chain, " --> "));
  text += fmt::format("Possible scenario:\n  this thread               another\n  lock({})\n", outer);
  text +=
      fmt::format("                            lock({})\n                            lock({})\n  lock({})\n",
                  all.nodes[path.back()->outer].name, outer, inner);
  return report;
}

Thread::~Thread() {
  if (!held.empty())
    report_once(ReportKind::held_at_exit, held.front().node, held.front().site,
                [&] { return heading("a thread ended with locks held") + "still has\n" + held_text(held); });
  thread_is_gone = true;
}

void Thread::deliver(Report report) {
  Handler handler;
  {
    std::lock_guard lock(graph().mutex);
    handler = graph().handler;
  }
  if (!handler) {
    std::fputs(report.text.c_str(), stderr);
    std::abort();
  }
  struct Suspend {
    explicit Suspend(bool& flag) : flag_(flag) { flag_ = true; }
    ~Suspend() { flag_ = false; }
    bool& flag_;
  } suspend(suspended);
  handler(report);
}

void Thread::report_once(ReportKind kind, size_t what, Site site, const std::function<std::string()>& text) {
  {
    size_t key = std::hash<std::string_view>()(site.file);
    for (size_t part : {static_cast<size_t>(kind), what, static_cast<size_t>(site.line)})
      key = key * 1000003 + part;
    Graph& all = graph();
    std::lock_guard lock(all.mutex);
    if (all.reported.size() >= 1024 || !all.reported.insert(key).second) return;
  }
  deliver({kind, text(), {}});
}

uint16_t Thread::node_of(const LockClass& lock_class, LockLevel level) {
  size_t hash = (reinterpret_cast<uintptr_t>(&lock_class) >> 3) * 31 + static_cast<size_t>(level) * 7;
  KnownNode& known = known_nodes[hash % 128];
  if (known.lock_class == &lock_class && known.level == level) return known.node;
  Graph& all = graph();
  std::lock_guard lock(all.mutex);
  std::string name = class_text(lock_class, level);
  auto found = all.node_ids.find(name);
  uint16_t node = no_node;
  if (found != all.node_ids.end()) {
    node = found->second;
  } else if (all.nodes.size() < max_classes) {
    node = static_cast<uint16_t>(all.nodes.size());
    all.nodes.push_back({name, {}});
    all.node_ids.emplace(std::move(name), node);
  }
  known = {&lock_class, level, node};
  return node;
}

Stack Thread::stack_at(Site site, uint16_t node) {
  constexpr uint32_t always = 4, then_every = 16;
  if (graph().exact_stacks.load(std::memory_order_relaxed)) return Stack::here();
  size_t hash = (reinterpret_cast<uintptr_t>(site.file) >> 2) + static_cast<size_t>(site.line) * 31 + node;
  KnownSite& known = known_sites[hash % 256];
  bool same = known.file == site.file && known.line == site.line && known.node == node;
  if (!same) known = {site.file, site.line, node, 0, {}};
  Stack stack = known.stack;
  stack.sampled = true;
  if (known.count < always || known.count % then_every == 0) stack = known.stack = Stack::here();
  ++known.count;
  return stack;
}

void Thread::check_recursion(const void* lock, Site site) {
  const Held* other = lock ? find(lock) : nullptr;
  if (!other) return;
  report_once(ReportKind::recursion, other->node, site, [&] {
    return heading("recursive acquisition") +
           fmt::format("is taking\n  ({}) at {}\nwhich it already has{}, from\n  {}\nholding\n{}",
                       class_text(*other->lock_class, other->level), text_of(site),
                       other->mode == Mode::shared ? " for reading (a writer may wait between the two)" : "",
                       text_of(other->site), held_text(held));
  });
}

void Thread::check_blocking(const std::string& what, uint16_t node, Site site) {
  for (const Held& outer : held) {
    if (!outer.lock_class->traits.no_block) continue;
    report_once(ReportKind::blocking, node, site, [&] {
      return heading("may block under a lock that must not") +
             fmt::format("does\n  {} at {}\nwhile it holds ({}), a no_block class, among\n{}", what,
                         text_of(site), outer.lock_class->name, held_text(held));
    });
    return;
  }
}

bool nesting_allowed(const Held& outer, const void* lock, LockNesting nesting, LockLevel level) {
  switch (nesting) {
    case LockNesting::never: return false;
    case LockNesting::levels_descend: return level < outer.level;
    case LockNesting::levels_ascend: return level > outer.level;
    case LockNesting::addresses_ascend: return level != outer.level || std::less<>()(outer.lock, lock);
    case LockNesting::any: return true;
  }
  return false;
}

void Thread::check_nesting(const void* lock, const LockClass& lock_class, LockLevel level, Site site) {
  for (const Held& outer : held) {
    bool same =
        outer.lock_class == &lock_class || std::string_view(outer.lock_class->name) == lock_class.name;
    if (!same || outer.lock == lock) continue;
    if (nesting_allowed(outer, lock, lock_class.traits.nesting, level)) continue;
    report_once(ReportKind::nesting, outer.node, site, [&] {
      return heading("locks of one class out of order") +
             fmt::format("is taking\n  ({}) at {}\nwhile it holds\n{}rule: {}\n",
                         class_text(lock_class, level), text_of(site), held_text(held),
                         lock_class.traits.rule ? lock_class.traits.rule : "never two at once");
    });
    return;
  }
}

// Adds an edge from each held lock to node, or reports it. One that closes a cycle is reported after the
// graph's mutex has been released.
void Thread::check_order(uint16_t node, Site site) {
  Graph& all = graph();
  uint64_t now = all.epoch.load(std::memory_order_acquire);
  if (epoch != now) std::fill_n(known_edges.get(), 2048, 0);
  epoch = now;
  for (size_t i = 0; i < held.size(); ++i) {
    if (held[i].node == node || held[i].node == no_node || node == no_node) continue;
    uint32_t key = edge_key(held[i].node, node);
    uint64_t& known = known_edges[(key * 0x9e3779b1u) >> 21];
    if (known == uint64_t{key} + 1) continue;
    known = uint64_t{key} + 1;
    all.slow_lookups.fetch_add(1, std::memory_order_relaxed);

    std::unique_lock lock(all.mutex);
    if (all.edges.contains(key)) continue;
    if (all.edges.size() >= max_edges) {
      if (std::exchange(all.full_reported, true)) continue;
      lock.unlock();
      deliver({ReportKind::full, heading("the graph is full; new edges are not recorded") + "\n", {}});
      continue;
    }
    auto edge = std::make_unique<Edge>(
        Edge{held[i].node, node, held[i].site, site, held[i].stack, Stack::here(), thread_name()});
    auto path = path_between(all, node, held[i].node);
    if (!path.empty()) {
      Report report = cycle_report(all, *edge, path, held);
      all.edges.emplace(key, nullptr);
      lock.unlock();
      deliver(std::move(report));
      continue;
    }
    all.nodes[held[i].node].inner.push_back(edge.get());
    all.edges.emplace(key, std::move(edge));
  }
}

void Thread::check(const void* lock, const LockClass& lock_class, LockLevel level, Site site) {
  if (held.empty()) return;
  uint16_t node = node_of(lock_class, level);
  check_recursion(lock, site);
  if (!lock_class.traits.no_block)
    check_blocking(fmt::format("wait for ({})", class_text(lock_class, level)), node, site);
  check_nesting(lock, lock_class, level, site);
  check_order(node, site);
}

}  // namespace

Handler set_handler(Handler handler) {
  Graph& all = graph();
  std::lock_guard lock(all.mutex);
  return std::exchange(all.handler, std::move(handler));
}

void set_exact_stacks(bool exact) { graph().exact_stacks.store(exact, std::memory_order_relaxed); }

void forget_edges() {
  Graph& all = graph();
  std::lock_guard lock(all.mutex);
  for (Node& node : all.nodes) node.inner.clear();
  all.edges.clear();
  all.reported.clear();
  all.full_reported = false;
  all.epoch.fetch_add(1, std::memory_order_release);
}

Statistics statistics() {
  Graph& all = graph();
  std::lock_guard lock(all.mutex);
  return {all.nodes.size(), all.edges.size(), all.slow_lookups.load(std::memory_order_relaxed)};
}

size_t held_count() {
  Thread* thread = current();
  return thread ? thread->held.size() : 0;
}

void may_block(const char* what, Site site) {
  Thread* thread = current();
  if (thread && !thread->held.empty()) thread->check_blocking(what, no_node, site);
}

void may_shrink(Site site) { passes(shrinker_class, site); }

void passes(const LockClass& lock_class, Site site) {
  if (Thread* thread = current()) thread->check(nullptr, lock_class, LockLevel{}, site);
}

Hold::Hold(const LockClass& lock_class, Site site) : class_(lock_class) {
  Tag tag(lock_class);
  tag.before(this, LockLevel{}, site);
  tag.taken(this, LockLevel{}, Mode::exclusive, site);
}

Hold::~Hold() { Tag(class_).released(this); }

ShrinkerScope::ShrinkerScope(Site site) : Hold(shrinker_class, site) {}

Balanced::~Balanced() {
  Thread* thread = current();
  if (!thread || thread->held.size() == count_) return;
  thread->report_once(ReportKind::held_at_exit, thread->held.size(), site_, [&] {
    return heading("locks held at the end of a scope") +
           fmt::format("began \"{}\" at {} with {} locks and ends it with\n{}", what_, text_of(site_), count_,
                       held_text(thread->held));
  });
}

Paused::Paused() : suspended_(current() != nullptr ? &current()->suspended : nullptr) {
  if (suspended_ != nullptr) *suspended_ = true;
}

Paused::~Paused() {
  if (suspended_ != nullptr) *suspended_ = false;
}

void Tag::before(const void* lock, LockLevel level, Site site) const {
  if (Thread* thread = current()) thread->check(lock, *class_, level, site);
}

void Tag::before_try(const void* lock, Site site) const {
  if (Thread* thread = current()) thread->check_recursion(lock, site);
}

void Tag::taken(const void* lock, LockLevel level, Mode mode, Site site) const {
  Thread* thread = current();
  if (!thread) return;
  uint16_t node = thread->node_of(*class_, level);
  thread->held.push_back({lock, class_, node, level, mode, site, thread->stack_at(site, node)});
}

void Tag::released(const void* lock) const {
  Thread* thread = current();
  if (!thread) return;
  if (const Held* held = thread->find(lock)) {
    thread->held.erase(thread->held.begin() + (held - thread->held.data()));
    return;
  }
  thread->report_once(ReportKind::not_held, reinterpret_cast<uintptr_t>(lock), Site{"", 0, ""}, [&] {
    return heading("released by a thread that does not hold it") +
           fmt::format("releases ({}) and has\n{}", class_->name, held_text(thread->held));
  });
}

LockLevel Tag::wait_begins(const void* lock, Site site) const {
  Thread* thread = current();
  if (!thread) return {};
  assert_held(lock, true, site);
  const Held* held = thread->find(lock);
  LockLevel level = held ? held->level : LockLevel{};
  if (held) thread->held.erase(thread->held.begin() + (held - thread->held.data()));
  may_block("wait for a condition", site);
  return level;
}

void Tag::wait_ended(const void* lock, LockLevel level, Site site) const {
  before(lock, level, site);
  taken(lock, level, Mode::exclusive, site);
}

void Tag::assert_held(const void* lock, bool exclusive, Site site) const {
  Thread* thread = current();
  if (!thread) return;
  const Held* held = thread->find(lock);
  if (held && (!exclusive || held->mode == Mode::exclusive)) return;
  thread->report_once(ReportKind::not_held, reinterpret_cast<uintptr_t>(lock), site, [&] {
    return heading("a lock that must be held is not") +
           fmt::format("needs ({}){} at {} and has\n{}", class_->name, exclusive ? " for writing" : "",
                       text_of(site), held_text(thread->held));
  });
}

void Tag::destroyed(const void* lock) const {
  Thread* thread = current();
  if (!thread || !thread->find(lock)) return;
  thread->report_once(ReportKind::destroyed, reinterpret_cast<uintptr_t>(lock), Site{"", 0, ""}, [&] {
    return heading("destroyed while held") +
           fmt::format("ends ({}) and has\n{}", class_->name, held_text(thread->held));
  });
}

}  // namespace karst::lock_order

#endif
