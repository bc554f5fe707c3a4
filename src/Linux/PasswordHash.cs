using System.Runtime.InteropServices;
using System.Security.Cryptography;
using System.Text;

namespace Berth.Linux;

/// <summary>
/// crypt(3) by libcrypt, which every Debian has (libcrypt1) and which logins are checked with: bcrypt and what else it knows. It is loaded when first needed.
/// </summary>
public static unsafe partial class PasswordHash
{
    private const string Library = "libcrypt.so.1";

    // struct crypt_data: 32 KiB in libxcrypt, 128 KiB in the old glibc. It must begin as zeros and is too large for a stack.
    private const int DataBytes = 256 * 1024;

    /// <summary>Whether the password has this hash. Takes as long as the hash was made to take; the comparison itself takes always the same time.</summary>
    /// <exception cref="DllNotFoundException">With a message that says which package to install.</exception>
    public static bool Verify(string password, string hash)
    {
        // A zero byte would end the password for libcrypt, and not for whoever set it.
        if (password.Contains('\0')) return false;
        var data = NativeMemory.AllocZeroed(DataBytes);
        try
        {
            var result = crypt_r(password, hash, data);
            if (result == 0) return false;
            // Failures of libcrypt give "*0" or "*1", which are no hash of anything.
            var found = Encoding.UTF8.GetBytes(Marshal.PtrToStringUTF8(result)!);
            return found is [not (byte)'*', ..] && CryptographicOperations.FixedTimeEquals(found, Encoding.UTF8.GetBytes(hash));
        }
        catch (DllNotFoundException e)
        {
            throw new DllNotFoundException("passwords are checked by libcrypt.so.1, which is not installed: install the package libcrypt1", e);
        }
        finally
        {
            CryptographicOperations.ZeroMemory(new Span<byte>(data, DataBytes));
            NativeMemory.Free(data);
        }
    }

    [LibraryImport(Library, StringMarshalling = StringMarshalling.Utf8)]
    private static partial nint crypt_r(string phrase, string setting, void* data);
}
