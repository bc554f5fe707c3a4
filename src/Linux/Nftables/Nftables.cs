using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Berth.Linux;

/// <summary>nftables refused a transaction, or its library is not there. Nothing of the transaction was applied.</summary>
public sealed class NftablesException(string message, Exception? inner = null) : IOException(message, inner);

/// <summary>
/// Runs nft(8) scripts without starting nft: adding a map element takes about 0.1 ms where the process takes 5.
/// One call is one transaction. Talks to the network namespace of the thread that opened it. Safe for concurrent use, one call at a time.
/// </summary>
public sealed unsafe class Nftables : IDisposable
{
    private readonly Lock gate = new();
    private readonly ContextHandle context;

    private Nftables(ContextHandle context) => this.context = context;

    /// <exception cref="NftablesException">The library is missing; the text names the package.</exception>
    public static Nftables Open()
    {
        ContextHandle context;
        try
        {
            context = new ContextHandle(LibNftables.nft_ctx_new(0));
        }
        catch (DllNotFoundException e)
        {
            throw new NftablesException("libnftables.so.1 is missing: install the package libnftables1 (Debian, Ubuntu) or nftables-libs (Fedora), or start the daemon with --iptables=false", e);
        }
        if (context.IsInvalid) throw new NftablesException("nft_ctx_new: no netlink socket for nftables");
        if (LibNftables.nft_ctx_buffer_output(context.Value) != 0 || LibNftables.nft_ctx_buffer_error(context.Value) != 0)
        {
            context.Dispose();
            throw new NftablesException("nft_ctx_buffer_output: out of memory");
        }
        return new Nftables(context);
    }

    /// <summary>Applies a script as one transaction and returns what it printed, which is empty unless it lists something.</summary>
    /// <exception cref="NftablesException">The text has nft's own words, and the script's first lines.</exception>
    public string Run(string script)
    {
        lock (gate)
        {
            ObjectDisposedException.ThrowIf(context.IsClosed, this);
            if (LibNftables.nft_run_cmd_from_buffer(context.Value, script) == 0)
                return Marshal.PtrToStringUTF8((nint)LibNftables.nft_ctx_get_output_buffer(context.Value)) ?? "";
            var error = Marshal.PtrToStringUTF8((nint)LibNftables.nft_ctx_get_error_buffer(context.Value))?.Trim() ?? "";
            _ = LibNftables.nft_ctx_get_output_buffer(context.Value); // fetching empties it
            throw new NftablesException($"nft: {(error.Length == 0 ? "failed without a reason" : error)}");
        }
    }

    public void Dispose()
    {
        lock (gate) context.Dispose();
    }

    private sealed class ContextHandle : SafeHandleZeroOrMinusOneIsInvalid
    {
        internal ContextHandle(nint value) : base(ownsHandle: true) => SetHandle(value);

        internal nint Value => handle;

        protected override bool ReleaseHandle()
        {
            LibNftables.nft_ctx_free(handle);
            return true;
        }
    }
}
