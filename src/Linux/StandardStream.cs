using Berth.Linux.Abi;

namespace Berth.Linux;

/// <summary>
/// One of the process's standard descriptors with plain read(2) and write(2): no position of its own, so that
/// <c>&gt; file 2&gt;&amp;1</c> interleaves, and no set-up of the terminal, both unlike what the base class library gives.
/// </summary>
public sealed unsafe class StandardStream(int fd) : Stream
{
    public override int Read(Span<byte> buffer)
    {
        fixed (byte* pointer = buffer)
        {
            while (true)
            {
                var read = LibC.read(fd, pointer, (nuint)buffer.Length);
                if (read >= 0) return (int)read;
                switch (LibC.LastErrno)
                {
                    case Errno.EINTR: continue;
                    case Errno.EAGAIN: Wait(PollEvents.Readable); continue; // whoever shares the terminal made it non-blocking
                    case Errno.EIO: return 0; // a terminal that was hung up
                    default: throw new LinuxException("read", fd.ToString(), LibC.LastErrno);
                }
            }
        }
    }

    /// <exception cref="LinuxException">EPIPE when the reader has gone.</exception>
    public override void Write(ReadOnlySpan<byte> buffer)
    {
        fixed (byte* pointer = buffer)
        {
            for (var done = 0; done < buffer.Length;)
            {
                var written = LibC.write(fd, pointer + done, (nuint)(buffer.Length - done));
                if (written >= 0)
                {
                    done += (int)written;
                    continue;
                }
                switch (LibC.LastErrno)
                {
                    case Errno.EINTR: continue;
                    case Errno.EAGAIN: Wait(PollEvents.Writable); continue;
                    default: throw new LinuxException("write", fd.ToString(), LibC.LastErrno);
                }
            }
        }
    }

    private void Wait(PollEvents events)
    {
        var entry = new PollFd { Fd = fd, Events = (short)events };
        LibC.poll(&entry, 1, -1);
    }

    /// <summary>Writing blocks as long as the reader is slow, which is what holds the sender back.</summary>
    public override ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
    {
        Write(buffer.Span);
        return ValueTask.CompletedTask;
    }

    public override bool CanRead => true;
    public override bool CanWrite => true;
    public override bool CanSeek => false;
    public override long Length => throw new NotSupportedException();
    public override long Position { get => throw new NotSupportedException(); set => throw new NotSupportedException(); }
    public override void Flush() { }
    public override int Read(byte[] buffer, int offset, int count) => Read(buffer.AsSpan(offset, count));
    public override void Write(byte[] buffer, int offset, int count) => Write(buffer.AsSpan(offset, count));
    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();
    public override void SetLength(long value) => throw new NotSupportedException();
}
