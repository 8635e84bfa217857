import { AsnArray, AsnProp, AsnPropTypes, AsnType, AsnTypeTypes, OctetString } from "@peculiar/asn1-schema";

/** ASN.1 of the extensions that are not X.509's own, for the parts of them that our certificates have. */

/** FWID ::= SEQUENCE { hashAlg OBJECT IDENTIFIER, digest OCTET STRING } */
export class Fwid {
  algorithm = "";
  digest = new OctetString();
}
AsnType({ type: AsnTypeTypes.Sequence })(Fwid);
AsnProp({ type: AsnPropTypes.ObjectIdentifier })(Fwid.prototype, "algorithm");
AsnProp({ type: OctetString })(Fwid.prototype, "digest");

export class FwidList extends AsnArray<Fwid> {}
AsnType({ type: AsnTypeTypes.Sequence, itemType: Fwid })(FwidList);

/**
 * What of DiceTcbInfo is used; the flags as the bytes of the BIT STRING, the first says how many of the last one's bits are not there.
 *
 *     DiceTcbInfo ::= SEQUENCE { fwids [6] IMPLICIT FWIDLIST, flags [7] IMPLICIT OperationalFlags OPTIONAL }
 */
export class TcbInfo {
  fwids = new FwidList();
  flags?: OctetString;
}
AsnType({ type: AsnTypeTypes.Sequence })(TcbInfo);
AsnProp({ type: FwidList, context: 6, implicit: true })(TcbInfo.prototype, "fwids");
AsnProp({ type: OctetString, context: 7, implicit: true, optional: true })(TcbInfo.prototype, "flags");

/** TcbFreshness ::= SEQUENCE { nonce OCTET STRING } */
export class Freshness {
  nonce = new OctetString();
}
AsnType({ type: AsnTypeTypes.Sequence })(Freshness);
AsnProp({ type: OctetString })(Freshness.prototype, "nonce");

/** What Open DICE Input says of a stage. */
export class OpenDiceInput {
  codeHash?: OctetString;
  codeDescriptor?: OctetString;
  configurationHash?: OctetString;
  configurationDescriptor?: OctetString;
  authorityHash?: OctetString;
  authorityDescriptor?: OctetString;
  mode?: number;
  profileName?: string;
}
AsnType({ type: AsnTypeTypes.Sequence })(OpenDiceInput);
const hashes = [
  "codeHash",
  "codeDescriptor",
  "configurationHash",
  "configurationDescriptor",
  "authorityHash",
  "authorityDescriptor",
];
hashes.forEach((name, context) => {
  AsnProp({ type: OctetString, context, optional: true })(OpenDiceInput.prototype, name);
});
AsnProp({ type: AsnPropTypes.Enumerated, context: 6, optional: true })(OpenDiceInput.prototype, "mode");
AsnProp({ type: AsnPropTypes.Utf8String, context: 7, optional: true })(OpenDiceInput.prototype, "profileName");
