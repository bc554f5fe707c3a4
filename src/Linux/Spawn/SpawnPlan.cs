using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Text;
using Berth.Linux.Abi;
using Microsoft.Win32.SafeHandles;

namespace Berth.Linux.Spawn;

/// <summary>An argument of a call in a <see cref="SpawnPlan"/>: a number, a descriptor, memory, or the result of an earlier call.</summary>
public readonly struct SpawnArgument
{
    internal SpawnArgument(long value, object? reference = null) => (Value, Reference) = (value, reference);

    internal long Value { get; }

    /// <summary>null, SafeHandle, SpawnCall, or SpawnMemory.</summary>
    internal object? Reference { get; }

    public static implicit operator SpawnArgument(int value) => new(value);

    public static implicit operator SpawnArgument(uint value) => new(value);

    public static implicit operator SpawnArgument(long value) => new(value);

    public static implicit operator SpawnArgument(ulong value) => new((long)value);

    /// <summary>The descriptor. The handle must stay open until the plan has run.</summary>
    public static implicit operator SpawnArgument(SafeFileHandle handle) => new(0, handle);

    /// <summary>The result of that call.</summary>
    public static implicit operator SpawnArgument(SpawnCall call) => new(0, call);

    /// <summary>Address of the text in UTF-8, zero-terminated.</summary>
    public static implicit operator SpawnArgument(string text) => new(0, SpawnMemory.Text(text));

    public static implicit operator SpawnArgument(SpawnMemory memory) => new(0, memory);
}

/// <summary>Memory that the child's system calls read. One object can be an argument of many calls and is laid out once.</summary>
public sealed class SpawnMemory
{
    private readonly byte[]? _bytes;
    private readonly SpawnMemory[]? _pointers;
    private readonly int _pointerOffset;

    private SpawnMemory(byte[]? bytes, SpawnMemory[]? pointers, int pointerOffset = 0) => (_bytes, _pointers, _pointerOffset) = (bytes, pointers, pointerOffset);

    internal long Address { get; private set; }

    /// <summary>UTF-8 with a zero behind. A zero within ends it: callers have checked that there is none.</summary>
    public static SpawnMemory Text(string text)
    {
        var bytes = new byte[Encoding.UTF8.GetByteCount(text) + 1];
        Encoding.UTF8.GetBytes(text, bytes);
        return new(bytes, null);
    }

    public static SpawnMemory Bytes(ReadOnlySpan<byte> bytes) => new(bytes.ToArray(), null);

    /// <summary>A value without pointers, as it is in memory.</summary>
    public static SpawnMemory Of<T>(T value) where T : unmanaged => Bytes(MemoryMarshal.AsBytes(new ReadOnlySpan<T>(in value)));

    /// <summary>argv or envp: addresses of the texts, then a null.</summary>
    public static SpawnMemory Texts(IReadOnlyList<string> texts)
    {
        var pointers = new SpawnMemory[texts.Count];
        for (var i = 0; i < pointers.Length; i++) pointers[i] = Text(texts[i]);
        return new(null, pointers);
    }

    /// <summary>struct sock_fprog: number of instructions, and their address.</summary>
    public static SpawnMemory FilterProgram(ushort length, ReadOnlySpan<byte> instructions)
    {
        var head = new byte[16];
        BitConverter.TryWriteBytes(head, length);
        return new(head, [Bytes(instructions)], 8);
    }

    /// <summary>struct open_how of openat2(2), whose fourth argument is <see cref="OpenHowBytes"/>.</summary>
    public static SpawnMemory OpenHow(OpenFlags flags, ResolveFlags resolve) =>
        Of(new OpenHow { Flags = (ulong)(flags | OpenFlags.CloseOnExec).ToKernel(), Resolve = (ulong)resolve });

    public const int OpenHowBytes = 24;

    internal long Measure(HashSet<SpawnMemory> seen)
    {
        if (!seen.Add(this)) return 0;
        long size = _bytes is null ? (_pointers!.Length + 1) * 8 : Align(_bytes.Length);
        foreach (var pointer in _pointers ?? []) size += pointer.Measure(seen);
        return size;
    }

    internal unsafe byte* Place(byte* next, HashSet<SpawnMemory> seen)
    {
        if (!seen.Add(this)) return next;
        Address = (long)next;
        var start = next;
        if (_bytes is not null)
        {
            _bytes.CopyTo(new Span<byte>(next, _bytes.Length));
            next += Align(_bytes.Length);
        }
        else
        {
            next += (_pointers!.Length + 1) * 8;
            *((long*)next - 1) = 0;
        }
        for (var i = 0; i < (_pointers?.Length ?? 0); i++)
        {
            next = _pointers![i].Place(next, seen);
            *(long*)(start + _pointerOffset + i * 8) = _pointers[i].Address;
        }
        return next;
    }

    private static int Align(int size) => (size + 7) & ~7;
}

/// <summary>One system call of the child.</summary>
public sealed class SpawnCall
{
    internal SpawnCall(int index, SystemCall call, SpawnArgument[] arguments) => (Index, Call, Arguments) = (index, call, arguments);

    public int Index { get; }

    public SystemCall Call { get; }

    internal SpawnArgument[] Arguments { get; }

    internal ulong TolerateMask { get; private set; }

    internal SpawnLabel? OnSuccess { get; private set; }

    internal SpawnLabel? OnFailure { get; private set; }

    /// <summary>What the call returned, negative for an errno; 0 if it was not reached. Set once the plan has run.</summary>
    public long Result { get; internal set; }

    /// <summary>These errors do not end the child: it goes on with the next call.</summary>
    public SpawnCall Tolerate(params ReadOnlySpan<Errno> errors)
    {
        foreach (var error in errors)
        {
            ArgumentOutOfRangeException.ThrowIfGreaterThan((int)error, 63, nameof(errors)); // the stub has one 64-bit mask
            TolerateMask |= 1ul << (int)error;
        }
        return this;
    }

    /// <summary>After success the child goes on at the label.</summary>
    public SpawnCall ThenTo(SpawnLabel label)
    {
        OnSuccess = label;
        return this;
    }

    /// <summary>After a tolerated error the child goes on at the label.</summary>
    public SpawnCall ElseTo(SpawnLabel label)
    {
        OnFailure = label;
        return this;
    }
}

/// <summary>A place between calls, further down, to go on at.</summary>
public sealed class SpawnLabel
{
    internal int? Index { get; set; }
}

/// <summary>How a plan ended.</summary>
/// <param name="Pid">In our pid namespace; the process exists until it is reaped.</param>
/// <param name="PidFd">The caller's to dispose.</param>
/// <param name="Failed">The call that ended the child (which is a zombie with exit code 255), or null when execve (or exit) was reached.</param>
/// <param name="Errno">Of the failed call.</param>
public readonly record struct SpawnResult(int Pid, SafeFileHandle PidFd, SpawnCall? Failed, Errno Errno);

/// <summary>
/// The system calls that a new process makes between its birth and its execve, in order. The child shares our memory but runs none of our code: see docs/starting-a-container.md.
/// Not thread-safe, runs once.
/// </summary>
public sealed unsafe class SpawnPlan
{
    private readonly List<SpawnCall> _calls = new(128);

    public IReadOnlyList<SpawnCall> Calls => _calls;

    /// <param name="arguments">Up to six; those missing are 0.</param>
    public SpawnCall Add(SystemCall call, params ReadOnlySpan<SpawnArgument> arguments)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(arguments.Length, 6);
        var added = new SpawnCall(_calls.Count, call, arguments.ToArray());
        _calls.Add(added);
        return added;
    }

    /// <summary>Places the label before the next call that is added.</summary>
    public void Mark(SpawnLabel label) => label.Index = _calls.Count;

    /// <summary>Runs the plan in a new process, and returns when it has executed or is gone. Its last call must be an execve or exit.</summary>
    /// <param name="flags">Beyond CLONE_VM, VFORK, PIDFD and CLEAR_SIGHAND.</param>
    /// <param name="cgroup">Directory of the cgroup v2 to be born in.</param>
    /// <param name="pidNamespace">The pid namespace to be born in, a namespace descriptor or a pidfd; null for the caller's.</param>
    /// <exception cref="LinuxException">clone3 itself (or setns) failed; there is no child.</exception>
    public SpawnResult Run(CloneFlags flags, SafeFileHandle? cgroup = null, SafeFileHandle? pidNamespace = null)
    {
        var seen = new HashSet<SpawnMemory>(256, ReferenceEqualityComparer.Instance);
        long size = sizeof(SpawnReport) + sizeof(CloneArguments) + 8 + (long)_calls.Count * sizeof(SpawnStep);
        var held = new List<SafeFileHandle>(32);
        foreach (var call in _calls)
        {
            foreach (ref readonly var argument in call.Arguments.AsSpan())
                if (argument.Reference is SpawnMemory memory) size += memory.Measure(seen);
        }
        var block = (byte*)NativeMemory.AllocZeroed((nuint)size);
        try
        {
            var report = (SpawnReport*)block;
            var clone = (CloneArguments*)(report + 1);
            var pidFd = (int*)(clone + 1);
            var steps = (SpawnStep*)((byte*)pidFd + 8);
            var next = (byte*)(steps + _calls.Count);
            seen.Clear();
            for (var i = 0; i < _calls.Count; i++)
            {
                var call = _calls[i];
                var step = steps + i;
                step->Number = call.Call.Number;
                step->Tolerated = (long)call.TolerateMask;
                step->OnSuccess = Distance(i, call.OnSuccess);
                step->OnFailure = Distance(i, call.OnFailure);
                for (var a = 0; a < call.Arguments.Length; a++)
                {
                    var argument = call.Arguments[a];
                    switch (argument.Reference)
                    {
                        case null:
                            step->Arguments[a] = argument.Value;
                            break;
                        case SafeFileHandle handle:
                            step->Arguments[a] = Hold(handle, held);
                            break;
                        case SpawnCall earlier:
                            step->Arguments[a] = (long)&steps[earlier.Index].Result;
                            step->Indirect |= 1L << a;
                            break;
                        case SpawnMemory memory:
                            next = memory.Place(next, seen);
                            step->Arguments[a] = memory.Address;
                            break;
                    }
                }
            }

            *pidFd = -1;
            report->AllSignals = ~0ul;
            report->PidNamespace = pidNamespace is null ? -1 : Hold(pidNamespace, held);
            report->OwnPidNamespace = pidNamespace is null ? -1 : Hold(OwnPidNamespace.Value, held);
            clone->Flags = (ulong)(flags | CloneFlags.Vm | CloneFlags.Vfork | CloneFlags.PidFd | CloneFlags.ClearSignalHandlers);
            clone->PidFd = (ulong)pidFd;
            clone->ExitSignal = 17; // SIGCHLD: waitid needs no __WALL then
            if (cgroup is not null)
            {
                clone->Flags |= (ulong)CloneFlags.IntoCgroup;
                clone->Cgroup = (ulong)Hold(cgroup, held);
            }

            var pid = SpawnStub.Entry(clone, (nuint)sizeof(CloneArguments), steps, report);

            if (pid < 0) throw new LinuxException("clone3", $"{flags}", (Errno)(-pid));
            for (var i = 0; i < _calls.Count; i++) _calls[i].Result = steps[i].Result;
            var failed = report->Failed is null ? null : _calls[(int)(report->Failed - steps)];
            return new SpawnResult((int)pid, new SafeFileHandle(*pidFd, ownsHandle: true), failed, (Errno)report->Errno);
        }
        finally
        {
            NativeMemory.Free(block);
            foreach (var handle in held) handle.DangerousRelease();
        }
    }

    private static readonly Lazy<SafeFileHandle> OwnPidNamespace = new(() => FileAt.Open(null, "/proc/self/ns/pid", OpenFlags.ReadOnly));

    private static int Hold(SafeFileHandle handle, List<SafeFileHandle> held)
    {
        var added = false;
        handle.DangerousAddRef(ref added);
        held.Add(handle);
        return (int)handle.DangerousGetHandle();
    }

    private static long Distance(int from, SpawnLabel? label)
    {
        if (label is null) return sizeof(SpawnStep);
        var to = label.Index ?? throw new InvalidOperationException("label not marked");
        if (to <= from) throw new InvalidOperationException("a plan only goes forward");
        return (long)(to - from) * sizeof(SpawnStep);
    }
}
